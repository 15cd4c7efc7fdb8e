"""Files that are written whole or not at all."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: object) -> None:
    """Writes beside the place and moves it there, so that a kill leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)

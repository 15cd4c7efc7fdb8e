"""Run by test_security.py in a process of its own: a command, and what Python's audit hooks saw of it.

Prints, as its last line, JSON of the exit code and of every event that a stranger's directory must not cause.
"""

import json
import os
import sys
from pathlib import Path

# What would run code, or talk to somebody. Imports are looked at by where modules come from.
_NEVER = (
    "pickle.find_class",
    "marshal.load",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "ctypes.dlopen",
    "urllib.Request",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(directory: Path, argv: list[str]) -> None:
    from transformer_jax.__main__ import main as command

    _import_first()
    scratch = Path(os.environ["TMPDIR"]).resolve()
    seen: list[list[str]] = []
    watching = True

    def hook(event: str, args: tuple) -> None:
        if not watching:
            return
        if event in _NEVER:
            seen.append([event, repr(args)[:300]])
        elif event == "open" and isinstance(args[0], str | bytes) and args[2] & _WRITES:
            path = Path(os.fsdecode(args[0])).resolve()
            if not any(path.is_relative_to(each) for each in (directory, scratch)) and str(path) != os.devnull:
                seen.append(["open for writing", str(path)])
        elif event == "compile" and args[1] is not None and str(args[1]).startswith(str(directory)):
            seen.append(["compile", str(args[1])])

    sys.addaudithook(hook)
    code = command(argv)
    watching = False
    files = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
    seen += [["import", file] for file in files if file.startswith(str(directory))]
    print("\n" + json.dumps({"code": code, "seen": seen}))


def _import_first() -> None:
    """What is loaded once, whatever a command reads: libraries look up their own parts with ctypes and processes."""
    import jax

    import transformer_jax.decode
    import transformer_jax.evaluate.run
    import transformer_jax.inspect.run  # noqa: F401
    from transformer_jax.study import report  # noqa: F401

    jax.devices()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])

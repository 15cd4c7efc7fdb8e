"""Every variant in plain NumPy, float64, with loops, written from the papers and not from the package.

Reads the package's parameter tree; shares no code with it.
"""

from reference.model import logits
from reference.positions import t5_bucket

__all__ = ["logits", "t5_bucket"]

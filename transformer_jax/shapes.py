"""The dimension key of the whole code, and the check of shapes that the tests switch on.

| letter | dimension | | letter | dimension |
|---|---|---|---|---|
| B | batch | | F | feed-forward width |
| L | query / target length | | N | layers |
| M | memory / source / key length | | V | vocabulary |
| D | model width | | S | residual streams |
| H | query heads | | R | replicas (independent runs) |
| G | key-value heads (groups) | | T | steps of one dispatch |
| K | head size | | | |

Every array's name ends in its shape (`logits_BLV`); a digit stands for itself (`mask_B1LM`).
"""

import os
from collections.abc import Callable
from typing import TypeVar

from jaxtyping import Array, Bool, Float, Int, jaxtyped

__all__ = ["Array", "Bool", "Float", "Int", "checked"]

_Function = TypeVar("_Function", bound=Callable)

if os.environ.get("TRANSFORMER_JAX_CHECK_SHAPES"):
    from beartype import beartype as _typechecker
else:
    _typechecker = None


def checked(function: _Function) -> _Function:
    """Checks the annotated shapes of `function` at each trace if TRANSFORMER_JAX_CHECK_SHAPES is set.

    The tests set it; elsewhere the function is returned as it is.
    """
    if _typechecker is None:
        return function
    return jaxtyped(function, typechecker=_typechecker)

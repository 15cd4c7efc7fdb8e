"""A small data section, and the way to change it."""

from types import SimpleNamespace

import pytest

_DEFAULTS = dict(
    corpus="toy",
    tests="",
    view="prompt_answer",
    tokenizer="byte",
    length=64,
    source_length=64,
    batch_size=4,
    packed=True,
    workers=0,
)


@pytest.fixture
def section():
    """`section(corpus='web')`: the attributes that `load` reads."""
    return lambda **changes: SimpleNamespace(**(_DEFAULTS | changes))

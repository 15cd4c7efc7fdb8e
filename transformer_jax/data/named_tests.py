"""`data.tests`: corpora that a run is evaluated on once, at its end, whatever the length of their examples."""

import dataclasses
import math
import re
from collections.abc import Iterator

from transformer_jax.data.corpora.base import SPLITS, corpora
from transformer_jax.data.files import shortened
from transformer_jax.data.prepared import Layout, encoded, marks_of, rows_of
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError

# Rows are a multiple of it, as fused attention kernels want.
_MULTIPLE = 8
_SHOWN = 200  # letters in a message
_WANTED = "write name: corpus, separated by semicolons, such as '2x: copy(test=(11, 20)); 4x: copy(test=(21, 40))'"


def parse_tests(text: str) -> dict[str, str]:
    """`'2x: copy(test=(11, 20)); 4x: sort'` -> `{'2x': 'copy(test=(11, 20))', '4x': 'sort'}`.

    Raises:
      UserError: naming the part that cannot be read, and what is accepted.
    """
    tests: dict[str, str] = {}
    if not text.strip():
        return tests
    for part in _parts(text):
        name, colon, spec = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and spec):
            raise UserError(f"data.tests: cannot read {shortened(part.strip(), _SHOWN)}: {_WANTED}")
        if not re.fullmatch(r"[a-z0-9_]+", name) or name in SPLITS:
            raise UserError(
                f"data.tests: the name {name!r} in {part.strip()!r} is not accepted: give small letters, digits "
                f"and _, and none of {', '.join(SPLITS)}"
            )
        if name in tests:
            raise UserError(f"data.tests: the name {name!r} is given twice: rename one")
        tests[name] = spec
    return tests


def _parts(text: str) -> Iterator[str]:
    """What stands between semicolons, save those between quotes, which may stand in the name of a file."""
    start, quote = 0, ""
    for i, character in enumerate(text):
        if quote or character in "'\"":
            quote = "" if character == quote else quote or character
        elif character == ";":
            yield text[start:i]
            start = i + 1
    yield text[start:]


def problems(text: str, kind: str | None) -> list[str]:
    """What is wrong with `data.tests`, found without reading a corpus.

    Args:
      kind: of the run's corpus, which the others must share; None if that is not known.
    """
    try:
        tests = parse_tests(text)
    except UserError as error:
        return [str(error)]
    found = []
    for name, spec in tests.items():
        try:
            corpus = corpora.build(spec)
            corpus.check()
        except UserError as error:
            found.append(f"data.tests, {name!r}: {error}")
            continue
        if kind is not None and corpus.kind != kind:
            found.append(f"data.tests, {name!r}: {spec!r} gives {corpus.kind}, but data.corpus gives {kind}")
    return found


def layouts(text: str, layout: Layout, context: int) -> dict[str, Layout]:
    """Name -> the layout of each test set, in rows in which its longest example fits whole.

    Args:
      layout: of the run, whose view and fitted tokenizer are used.
      context: what the length of a row must be a multiple of, beside a small power of two.

    Raises:
      UserError: if one cannot be read or laid out.
    """
    made = {}
    for name, spec in parse_tests(text).items():
        try:
            made[name] = _layout(spec, layout, math.lcm(_MULTIPLE, context))
        except UserError as error:
            raise UserError(f"data.tests, {name!r}: {error}") from None
    return made


def _layout(spec: str, layout: Layout, multiple: int) -> Layout:
    stamp = corpora.build(spec).stamp()
    fitted_on = (layout.corpus, layout.stamp)
    draft = dataclasses.replace(layout, corpus=spec, stamp=stamp, packed=False, fitted_on=fitted_on)
    sizes = views.build(layout.eval_view).longest(encoded(draft, "test"), marks_of(layout))
    length, source_length = (-(-size // multiple) * multiple for size in sizes)
    final = dataclasses.replace(draft, length=length, source_length=source_length)
    rows_of(final, "test")
    return final

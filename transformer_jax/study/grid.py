"""Grids as pure values: which variants a study compares.

A `Grid` is a tuple of `Point`s, a point is a label with the config keys that it sets. Grids are combined by
functions, never edited:

    chain(point("baseline"), param("model.position", ["none", "alibi"]), param("model.heads", [1, 2]))
    product(param("model.position", ["rope", "alibi"]), param("model.layers", [2, 4]))

`chain` and `product` are associative; `product()` (one point that sets nothing) is the unit of `product`.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from transformer_jax.errors import UserError

LABEL_LIMIT = 60  # characters; a longer one fits neither a table nor a picture


@dataclass(frozen=True)
class Point:
    """One variant: a label, and the dotted config keys that it sets, sorted by key.

    Raises:
      UserError: for an unprintable or overlong label, a key set twice, or a value that JSON cannot hold.
    """

    label: str
    overrides: tuple[tuple[str, object], ...] = ()

    def __post_init__(self):
        if not isinstance(self.label, str) or not self.label.isprintable() or len(self.label) > LABEL_LIMIT:
            raise UserError(f"label={self.label!r}: give one line of at most {LABEL_LIMIT} printable characters")
        keys = [key for key, _ in self.overrides]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"the point {self.label!r} sets {key} twice: {dict(self.overrides)}")
        for key, value in self.overrides:
            if not isinstance(value, str | int | float | bool | None):
                raise UserError(f"the point {self.label!r} sets {key}={value!r}: give a text, a number, a bool or None")
        object.__setattr__(self, "overrides", tuple(sorted(self.overrides, key=lambda pair: pair[0])))


@dataclass(frozen=True)
class Grid:
    """Points in the order in which they are run and shown.

    Raises:
      UserError: if two points have the same label, or set the same keys to the same values.
    """

    points: tuple[Point, ...]

    def __post_init__(self):
        by_label: dict[str, Point] = {}
        by_content: dict[str, Point] = {}
        for each in self.points:
            content = json.dumps(each.overrides)
            if each.label in by_label:
                raise UserError(f"two points of the grid are labelled {each.label!r}: rename one")
            if content in by_content:
                raise UserError(
                    f"the points {by_content[content].label!r} and {each.label!r} of the grid are the same: "
                    f"both set {dict(each.overrides) or 'nothing'}; drop one"
                )
            by_label[each.label] = by_content[content] = each

    def __iter__(self):
        return iter(self.points)

    def __len__(self):
        return len(self.points)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.points)


def point(label: str, overrides: Mapping[str, object] | None = None) -> Grid:
    """A grid of one point: `point('4 layers', {'model.layers': 4})`; `point('baseline')` sets nothing."""
    return Grid((Point(label, tuple((overrides or {}).items())),))


def fixed(overrides: Mapping[str, object]) -> Grid:
    """One point without a label, for `product`: it sets the same keys in every point and labels none."""
    return point("", overrides)


def param(key: str, values: Iterable[object], *, name: str | None = None) -> Grid:
    """One point per value of the dotted `key`, labelled `name=value`.

    Args:
      key: a config key such as `'model.position'`.
      values: what it takes, in order.
      name: what labels call the key; its last part if None. `''` labels with the value alone.
    """
    name = key.rpartition(".")[2] if name is None else name
    prefix = f"{name}=" if name else ""
    return Grid(tuple(Point(f"{prefix}{value}", ((key, value),)) for value in values))


def product(*grids: Grid) -> Grid:
    """Every combination of one point from each grid, the last varying fastest; labels joined by commas."""
    return Grid(tuple(_merge(points) for points in itertools.product(*grids)))


def chain(*grids: Grid) -> Grid:
    """The points of all grids, one grid after the other."""
    return Grid(tuple(itertools.chain(*grids)))


def zip_(*grids: Grid) -> Grid:
    """The i-th points of all grids merged into one; the grids are of equal length.

    Raises:
      UserError: if they are not.
    """
    if len({len(grid) for grid in grids}) > 1:
        raise UserError(f"zip_ takes grids of equal length, not of {[len(grid) for grid in grids]} points")
    return Grid(tuple(_merge(points) for points in zip(*grids, strict=True)))


def _merge(points: tuple[Point, ...]) -> Point:
    label = ", ".join(each.label for each in points if each.label)
    return Point(label, tuple(itertools.chain(*(each.overrides for each in points))))

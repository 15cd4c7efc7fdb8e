"""Small pictures as SVG text: scales, axes and marks. Every text is escaped, and nothing is loaded from anywhere."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape as escape_html

from transformer_jax.errors import printable

INK, SOFT, GRID, BAND, PAPER = "#1b2430", "#57606a", "#e6eaef", "#e9edf2", "#ffffff"
FONT = "Helvetica, Arial, sans-serif"
_WIDE, _NARROW = set("mwMW@%"), set("ijltfrI.,:;'|()[]! /-")
# The colours of Okabe and Ito, which a colour-blind reader can tell apart, the light ones darkened to stand 3:1 on
# white; with a dash pattern and a marker each, so that none is told by its colour alone.
LINES = ("#0072B2", "#D55E00", "#008A65", "#B0558C", "#A87400", "#3A8FC0", "#5B5B5B")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4")
SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "plus")


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        f = math.log10 if self.log else float
        share = (f(value) - f(self.low)) / (f(self.high) - f(self.low))
        return self.start + share * (self.end - self.start)

    def inside(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the scale."""
        if self.log:
            marks = [m * 10.0**e for e in range(-30, 40) for m in (1, 2, 5)]
            found = [mark for mark in marks if self.inside(mark)]
            tens = [mark for mark in found if math.log10(mark).is_integer()]
            return tens if len(tens) >= 3 else found
        raw = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def fit(values: Iterable[float], start: float, end: float, *, pad: float = 0.06, log: bool = False) -> Scale:
    """A scale that holds all finite values, with a margin; it is never empty."""
    good = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(good), max(good)
    if log:
        room = max((high / low) ** pad, 1.1)
        return Scale(low / room, high * room, start, end, True)
    room = pad * (high - low) if high > low else abs(high) * 0.05 or 1.0
    return Scale(low - room, high + room, start, end)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """The ticks as text, all with the same number of decimals; large ones as 2k, 3M."""
    largest = max((abs(t) for t in ticks), default=0.0)
    if largest >= 1e4:
        return [short(tick) for tick in ticks]
    if any(0 < abs(t) < 1e-4 for t in ticks):
        return [f"{tick:.2g}" for tick in ticks]
    decimals = next((d for d in range(7) if all(abs(round(t, d) - t) <= 1e-9 + 1e-6 * abs(t) for t in ticks)), 6)
    return [f"{tick:.{decimals}f}".replace("-", "−") for tick in ticks]


def short(value: float) -> str:
    """A large number with three digits and a letter: 1.35M."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}".replace("-", "−") + letter
    return f"{value:.3g}".replace("-", "−")


def text_width(text: str, size: float = 12) -> float:
    """About how many pixels `text` takes."""
    widths = (0.9 if c in _WIDE else 0.33 if c in _NARROW else 0.7 if c.isupper() else 0.57 for c in text)
    return size * sum(widths)


class Svg:
    """A picture that is being drawn; `name` makes its ids unique on a page."""

    def __init__(self, name: str, width: float, height: float, title: str, description: str):
        self.name, self.width, self.height = name, width, height
        self.title, self.description = title, description
        self._parts: list[str] = []
        self._clips = 0

    def tag(self, tag: str, content: str | None = None, **attributes: object) -> None:
        """An element; names of attributes with `_` for `-`, None leaves one out; `content` is markup."""
        self._parts.append(f"<{tag}{_attributes(attributes)}" + ("/>" if content is None else f">{content}</{tag}>"))

    def text(self, x: float, y: float, text: str, *, size: float = 12, anchor: str = "start", **more: object) -> None:
        more = {"fill": INK} | more
        self.tag("text", escape(text), x=x, y=y, font_size=size, text_anchor=anchor, **more)

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = INK, width: float = 1, **more) -> None:
        self.tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width, **more)

    def rect(self, x: float, y: float, width: float, height: float, fill: str, title: str = "", **more) -> None:
        self.tag("rect", _title(title), x=x, y=y, width=max(width, 0), height=max(height, 0), fill=fill, **more)

    def polyline(self, points: Sequence[tuple[float, float]], stroke: str, dash: str = "", width: float = 1.8) -> None:
        self.tag("path", d=_path(points), fill="none", stroke=stroke, stroke_width=width, stroke_dasharray=dash or None,
                 stroke_linejoin="round")  # fmt: skip

    def area(self, points: Sequence[tuple[float, float, float]], fill: str, opacity: float = 0.16) -> None:
        """Between the lows and highs of (x, low, high)."""
        edge = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in reversed(points)]
        self.tag("path", d=_path(edge) + "Z", fill=fill, fill_opacity=opacity)

    def marker(self, shape: str, x: float, y: float, r: float, fill: str, title: str = "", **more: object) -> None:
        inside = _title(title)
        if shape == "circle":
            self.tag("circle", inside, cx=x, cy=y, r=r, fill=fill, **more)
        elif shape in ("cross", "plus"):
            ends = ((-r, -r, r, r), (-r, r, r, -r)) if shape == "cross" else ((-r, 0, r, 0), (0, -r, 0, r))
            d = "".join(_path([(x + a, y + b), (x + c, y + e)]) for a, b, c, e in ends)
            self.tag("path", inside, d=d, stroke=fill, stroke_width=2, **more)
        else:
            k, h = 1.15 * r, 0.88 * r
            corners = {
                "square": [(-h, -h), (h, -h), (h, h), (-h, h)],
                "diamond": [(0, -1.25 * r), (1.25 * r, 0), (0, 1.25 * r), (-1.25 * r, 0)],
                "up": [(0, -k), (k, h), (-k, h)],
                "down": [(0, k), (k, -h), (-k, -h)],
            }[shape]
            self.tag("path", inside, d=_path([(x + a, y + b) for a, b in corners]) + "Z", fill=fill, **more)

    @contextlib.contextmanager
    def group(self, **attributes: object) -> Iterator[None]:
        self._parts.append(f"<g{_attributes(attributes)}>")
        yield
        self._parts.append("</g>")

    @contextlib.contextmanager
    def clip(self, x: float, y: float, width: float, height: float) -> Iterator[None]:
        """What is drawn within it shows inside the rectangle only."""
        self._clips += 1
        name = f"{self.name}-clip{self._clips}"
        box = f"<rect{_attributes({'x': x, 'y': y, 'width': width, 'height': height})}/>"
        self._parts.append(f'<clipPath id="{name}">{box}</clipPath>')
        with self.group(clip_path=f"url(#{name})"):
            yield

    def x_axis(self, scale: Scale, top: float, bottom: float, title: str = "", count: int = 5) -> None:
        ticks = scale.ticks(count)
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.line(scale(tick), top, scale(tick), bottom, GRID)
            self.text(scale(tick), bottom + 15, label, size=11, anchor="middle", fill=SOFT)
        self.line(scale.start, bottom, scale.end, bottom, SOFT)
        if title:
            self.text((scale.start + scale.end) / 2, bottom + 32, title, anchor="middle", fill=SOFT)

    def y_axis(self, scale: Scale, left: float, right: float, title: str = "", count: int = 5) -> None:
        """`title` stands above the axis, where it can be read without turning the head."""
        ticks = scale.ticks(count)
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.line(left, scale(tick), right, scale(tick), GRID)
            self.text(left - 6, scale(tick) + 4, label, size=11, anchor="end", fill=SOFT)
        self.line(left, scale.start, left, scale.end, SOFT)
        if title:
            self.text(4, min(scale.start, scale.end) - 9, title, fill=SOFT)

    def inside(self) -> str:
        """What has been drawn, without the element around it."""
        return "".join(self._parts)

    def render(self, *, alone: bool = False) -> str:
        """The element for a page; `alone`: a file of its own, with the namespace that HTML does not need."""
        space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
        size = _attributes({"width": self.width, "height": self.height})
        box = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}"'
        head = f'<title id="{self.name}-t">{escape(self.title)}</title>'
        head += f'<desc id="{self.name}-d">{escape(self.description)}</desc>'
        paper = f"<rect{_attributes({'width': self.width, 'height': self.height, 'fill': PAPER})}/>" if alone else ""
        return (
            f'<svg{space} role="img" aria-labelledby="{self.name}-t {self.name}-d"{size} {box} '
            f'font-family="{FONT}">{head}{paper}{self.inside()}</svg>'
        )


def dodge(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, in the same order, at least `gap` apart where that fits between low and high."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / len(wanted))
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed, at = {}, low - gap
    for i in order:
        at = placed[i] = max(wanted[i], at + gap)
    ceiling = high + gap
    for i in reversed(order):
        ceiling = placed[i] = min(placed[i], ceiling - gap)
    return [placed[i] for i in range(len(wanted))]


def escape(text: str) -> str:
    """As markup; a control character, which no XML may hold, is written out."""
    return escape_html(printable(text))


def _title(text: str) -> str | None:
    return f"<title>{escape(text)}</title>" if text else None


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) if points else ""


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )

"""Weak scaling by count: what each device sends in one update as devices grow, against the least that it must send.

Nothing is run. The step is compiled for 8, 64 and 256 devices, and its collective operations are counted.
"""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.plan import collectives
from transformer_jax.plan.compiled import compile_apart

DEVICES = (8, 64, 256)
# By compiler: fake CPU devices, described GPUs, and TPU slices of as many chips.
MACHINES = {
    "cpu": {8: "cpu:8", 64: "cpu:64", 256: "cpu:256"},
    "H100": {8: "8xH100", 64: "64xH100", 256: "256xH100"},
    "v5e": {8: "v5e:2x4", 64: "v5e:8x8", 256: "v5e:16x16"},
}
BEGIN, END = "<!-- counted -->", "<!-- end of what is counted -->"
_FLOAT = 4  # bytes: everything is float32, since the CPU's compiler would send bfloat16 as that


@dataclass(frozen=True)
class Sizes:
    """Of a small decoder; what grows with the devices is given for one of them."""

    layers: int = 2
    width: int = 256
    rows: int = 2
    length: int = 64
    heads: int = 8
    ffn: int = 1024
    vocab: int = 512

    def config(self) -> ConfigDict:
        c = config_lib.base()
        m, d = c.model, c.data
        m.layers, m.width, m.heads, m.ffn_size = self.layers, self.width, self.heads, self.ffn
        m.head_size, m.vocab_multiple = 32, self.vocab
        d.length, d.batch_size = self.length, self.rows
        return c


@dataclass(frozen=True)
class Axis:
    """One way to split a model.

    Attributes:
      grows: the sizes for n devices, the work of each staying the same.
      least: bytes that each of n devices must send in one update.
      formula: the same in words.
    """

    grows: Callable[[int], Sizes]
    least: Callable[[int, Sizes], float]
    formula: str


def _of_fsdp(n: int, sizes: Sizes) -> float:
    table = sizes.vocab * sizes.width
    return (n - 1) / n * _FLOAT * (3 * _matrices(sizes) - table)


def _of_tensor(n: int, sizes: Sizes) -> float:
    stream = _FLOAT * sizes.rows * sizes.length * sizes.width
    return (4 * sizes.layers + 2) * 2 * (n - 1) / n * stream


def _of_context(n: int, sizes: Sizes) -> float:
    keys = _FLOAT * sizes.rows * sizes.length * sizes.heads * 32
    return (n - 1) / n * (4 * sizes.layers * keys + 2 * _FLOAT * _matrices(sizes))


def _matrices(sizes: Sizes) -> float:
    """Parameters, without the few of norms."""
    attention, ffn = 4 * sizes.width * sizes.heads * 32, 2 * sizes.width * sizes.ffn
    return sizes.layers * (attention + ffn) + sizes.vocab * sizes.width


AXES = {
    "fsdp": Axis(
        lambda n: Sizes(rows=n),
        _of_fsdp,
        "(n - 1) / n (3 P - T): all-gather of the parameters P for the forward pass and again for the backward pass, "
        "reduce-scatter of their gradients; the table T stays gathered from its first use to its last",
    ),
    "tensor": Axis(
        lambda n: Sizes(heads=n, ffn=16 * n, vocab=4 * n),
        _of_tensor,
        "(4 N + 2) 2 (n - 1) / n B L D: all-reduce of the stream behind attention and feed-forward of N layers, and of "
        "its gradient before them; the same at the embedding and at the logits",
    ),
    "context": Axis(
        lambda n: Sizes(length=16 * n, width=128, heads=4, ffn=512, vocab=256),
        _of_context,
        "(n - 1) / n (4 N B L H K + 2 P): all-gather of keys and values in N layers, kept for the backward pass, "
        "reduce-scatter of their gradients, and all-reduce of the parameters' gradients",
    ),
}


@dataclass(frozen=True)
class Point:
    """One program.

    Attributes:
      sent, least: bytes per device and update.
      kinds: the same by kind of collective operation.
      greatest: (kind, what for, bytes) of the operations that send most.
    """

    compiler: str
    axis: str
    devices: int
    sent: float
    least: float
    seconds: float
    kinds: dict[str, float]
    greatest: tuple[tuple[str, str, float], ...]

    @property
    def ratio(self) -> float:
        return self.sent / self.least


def measure(compiler: str, axes: Sequence[str] = tuple(AXES), devices: Sequence[int] = DEVICES) -> Iterator[Point]:
    """Compiles and counts, one program after the other.

    Args:
      compiler: a key of MACHINES.

    Raises:
      UserError: if what compiles for those machines is not installed.
    """
    for name in axes:
        for n in devices:
            axis, sizes = AXES[name], AXES[name].grows(n)
            compiled = compile_apart(sizes.config(), {name: n}, MACHINES[compiler][n], sizes.vocab)
            found = compiled.collectives
            most = sorted(found, key=lambda each: -each.bytes_in_all)[:12]
            yield Point(
                compiler,
                name,
                n,
                collectives.total(found),
                axis.least(n, sizes),
                compiled.seconds,
                collectives.by_kind(found),
                tuple((each.kind, each.where[-160:], each.bytes_in_all) for each in most),
            )


def table(points: Sequence[Point]) -> str:
    """Bytes per device and update, in MiB."""
    lines = [
        "| axis | devices | least | "
        + " | ".join(f"sent, {name} | of the least" for name in _compilers(points))
        + " |",
        "|---|" + "---:|" * (2 + 2 * len(_compilers(points))),
    ]
    for axis, n in dict.fromkeys((point.axis, point.devices) for point in points):
        own = {point.compiler: point for point in points if (point.axis, point.devices) == (axis, n)}
        cells = [f"{next(iter(own.values())).least / 2**20:.2f}"]
        for name in _compilers(points):
            point = own.get(name)
            cells += [f"{point.sent / 2**20:.2f}", f"{point.ratio:.2f}"] if point else ["", ""]
        lines.append(f"| {axis} | {n} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def formulas() -> str:
    """What the least is, axis by axis."""
    lines = [f"- **{name}**: {axis.formula}." for name, axis in AXES.items()]
    return "".join(textwrap.fill(line, 120, subsequent_indent="  ") + "\n" for line in lines)


def write(points: Sequence[Point], folder: Path) -> None:
    """The table into scaling.md, between its marks, and the picture beside it."""
    page = folder / "scaling.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{formulas()}\n{table(points)}{END}{after}")
    picture(points, folder / "scaling.png")


def picture(points: Sequence[Point], path: Path) -> None:
    """Sent against the least, a panel per axis."""
    import altair as alt

    rows = [
        {"axis": point.axis, "devices": point.devices, "MiB": value / 2**20, "what": what}
        for point in points
        for what, value in ((f"sent, {point.compiler}", point.sent), ("least", point.least))
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("devices:Q", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=list(DEVICES)), title="devices"),
        y=alt.Y("MiB:Q", scale=alt.Scale(type="log"), title="MiB sent per device and update"),
        color=alt.Color("what:N", title=None, scale=alt.Scale(scheme="dark2")),
        strokeDash=alt.StrokeDash("what:N", title=None),
    )
    panel = (base.mark_line() + base.mark_point(filled=True, size=50)).properties(width=230, height=240)
    chart = panel.facet(column=alt.Column("axis:N", title=None, sort=list(AXES))).resolve_scale(y="independent")
    chart.configure(font="sans-serif", background="white").save(path, format="png", scale_factor=2)


def _compilers(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.compiler for point in points))

"""Measures what a train step costs as length, sizes, cores and devices grow, with one mixer or another."""

from datetime import UTC, datetime
from pathlib import Path

from transformer_jax.errors import UserError

_PARTS = ("length", "sizes", "cores", "devices")


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--only", action="append", choices=_PARTS, help="several may be given (all); minutes for each")
    add("--repeats", type=int, default=5, help="rounds over all points of a part (5)")
    add("--largest", type=int, help="leaves out points beyond this size")
    add("--limit-gib", type=float, default=6.0, help="of temporaries: what takes more is not run (6)")
    add("--limit-seconds", type=float, default=10.0, help="of an update: what takes more is not run (10)")
    add("--out", type=Path, default=Path("docs"), help="folder of growth.md and its pictures (docs)")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Replaces the tables of growth.md, part by part, and their pictures."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `length` takes no config; see --help")
    for name in ("repeats", "largest", "limit_gib", "limit_seconds"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name.replace('_', '-')}={value}: give more than 0")
    from benchmarks import growth, growth_picture, growth_table
    from transformer_jax.study.report.charts import require

    require()
    parts, page = args.only or list(_PARTS), args.out / growth_table.PAGE
    growth_table.check_marks(page, parts)

    def tell(line: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)

    for part in parts:
        wanted = growth.points(part, args.largest)
        if not wanted:
            raise UserError(f"--largest={args.largest}: no point of `{part}` is as small as that")
        if part == "devices":
            found = growth.count(wanted, tell)
        else:
            limits = growth.Limits(args.limit_gib * 2**30, args.limit_seconds)
            found = growth.measure(wanted, args.repeats, limits, tell)
        text = growth_table.tables(part, found, growth_table.header(argv))
        growth_table.write(page, part, text)
        pictures = growth_picture.draw(part, found, args.out)
        print(f"{text}\nwritten to {page.name}" + "".join(f" and {name}" for name in pictures))

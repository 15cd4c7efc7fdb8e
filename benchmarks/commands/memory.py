"""Reads what memory a compiled train step takes, against vocabulary, length and remat."""

from datetime import UTC, datetime
from pathlib import Path

from transformer_jax.errors import UserError

_PARTS = ("vocabulary", "kernels", "remat")


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--only", action="append", choices=_PARTS, help="several may be given (all)")
    add("--repeats", type=int, default=5, help="rounds in which remat policies are timed (5)")
    add("--out", type=Path, default=Path("docs"), help="folder of memory.md (docs)")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Replaces the tables of memory.md, part by part."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `memory` takes no config; see --help")
    if args.repeats < 1:
        raise UserError(f"--repeats={args.repeats}: give 1 or more")
    from benchmarks import growth_table, memory, memory_table

    parts, page = args.only or list(_PARTS), args.out / memory_table.PAGE
    growth_table.check_marks(page, parts)

    def tell(line: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)

    for part in parts:
        found = memory.measure(memory.cases(part), args.repeats, tell)
        text = memory_table.tables(part, found, growth_table.header(argv))
        growth_table.write(page, part, text)
        print(f"{text}\nwritten to {page.name}")

"""Counts what each device sends in one update as devices grow, in compiled programs."""

from pathlib import Path

from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    known = ("cpu", "H100", "v5e")
    add = parser.add_argument
    add("--compiler", action="append", choices=known, help="several may be given (cpu); minutes for each")
    add("--out", type=Path, default=Path("docs"), help="folder of scaling.md and .png (docs)")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Replaces the table of scaling.md and its picture."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `scaling` takes no config; see --help")
    if not (args.out / "scaling.md").is_file():
        raise UserError(f"--out={args.out}: give a folder with a scaling.md, whose table is replaced")
    from benchmarks.scaling import measure, table, write
    from transformer_jax.study.report.charts import require

    require()
    points = []
    for compiler in args.compiler or ["cpu"]:
        for point in measure(compiler):
            points.append(point)
            print(f"{point.seconds:.0f} s\n{table([point])}", flush=True)
    write(points, args.out)
    print(table(points))

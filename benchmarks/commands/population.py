"""Times runs that train together against the same runs one after another."""

from datetime import UTC, datetime
from pathlib import Path

from transformer_jax import config_file
from transformer_jax.errors import UserError

POPULATIONS = (
    "# Runs that train together, against the same runs one after another\n\n"
    "Added by `benchmarks.run population --record`: wall-clock times of whole processes from a cold start, medians\n"
    "(min to max); compilation included, nothing cached. Compare the rows of one table only.\n"
)


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    add("--runs", type=int, default=8, help="how many, with seeds that follow each other (8)")
    add("--repeats", type=int, default=1, help="of every way, in turns (1)")
    add("--record", action="store_true", help="add the table to POPULATIONS.md")
    add("--out", type=Path, default=Path(__file__).parents[1], help="folder of POPULATIONS.md (benchmarks/)")


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Prints a table; with `--record` adds it to POPULATIONS.md."""
    for name, least in (("runs", 2), ("repeats", 1)):
        if getattr(args, name) < least:
            raise UserError(f"--{name}={getattr(args, name)}: give {least} or more")
    if args.record and not args.out.is_dir():
        raise UserError(f"--out={args.out} is no folder")
    import os

    from benchmarks import record as record_lib
    from benchmarks.population import measure, table
    from transformer_jax import config as config_lib

    config = config_file.load(args.config, overrides)
    found = measure(config_lib.to_dict(config), args.runs, args.repeats, lambda line: print(line, flush=True))
    import jax  # only now: the processes that were timed had the devices to themselves

    kind, cores = jax.devices()[0].device_kind, len(os.sched_getaffinity(0))
    title = (
        f"{args.runs} runs of {args.config.rpartition('/')[2]}, {datetime.now(UTC):%Y-%m-%d}, {jax.device_count()} x "
        f"{kind} ({cores} cores), jax {jax.__version__}: `{record_lib.command_line(argv)}`"
    )
    text = table(found, title)
    print(text)
    if args.record:
        path = args.out / "POPULATIONS.md"
        with path.open("a") as file:
            file.write(("" if path.stat().st_size else POPULATIONS) + "\n" + text)
        print(f"recorded in {path}")

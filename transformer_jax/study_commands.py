"""The commands of studies: `python -m transformer_jax study COMMAND`."""

import json
import shlex
from pathlib import Path

from transformer_jax.errors import UserError


def run(args, overrides) -> int:
    """Runs what is not done yet of a study."""
    from transformer_jax.study import load_study, run_study
    from transformer_jax.train.population import share_cores

    share_cores()
    study = load_study(args.file, overrides)
    directory = args.workdir or Path("runs") / study.name
    changes = [f"--config.{key}={value}" for key, value in overrides.items()]
    command = shlex.join(["python", "-m", "transformer_jax", "study", "run", args.file, *changes])
    summary = run_study(
        study, directory, command=command, launcher=args.launcher, processes=args.processes, members=args.members
    )
    print(summary)
    print(f"next: python -m transformer_jax study {'report' if summary.complete else 'status'} {directory}")
    return 1 if summary.failed else 0


def work(args, overrides) -> int:
    """Trains what is open and free of a study that `study run` has planned; what launchers start."""
    from transformer_jax.study.work import work_on
    from transformer_jax.train.population import share_cores

    share_cores()
    return 1 if work_on(args.directory) else 0


def status(args, overrides) -> None:
    """Says what of a study is done, running, waiting or failed, and the time left."""
    from transformer_jax.study.status import status as status_of

    found = status_of(args.directory)
    print(json.dumps(found.as_json(), indent=1) if args.json else found)


def report(args, overrides) -> None:
    """Compares what a study has run: a table here, pictures in its page."""
    from transformer_jax.study import terminal_table, write_report

    found = write_report(args.directory)
    print(terminal_table(found))
    print(f"\nreport: {found.directory / 'report' / 'index.html'}")


def compare(args, overrides) -> None:
    """Compares two studies that were not planned together, and says what cannot be compared."""
    from transformer_jax.study.cross import compare_studies
    from transformer_jax.study.report.side_by_side import comparison_text, write_comparison

    found = compare_studies(args.first, args.second)
    print(comparison_text(found))
    if args.out is not None:
        write_comparison(found, args.out)


def power(args, overrides) -> None:
    """Says how many seeds are needed to see an effect, from a study's own noise."""
    from transformer_jax.study.planning import power_of_study

    print(power_of_study(args.directory, effects=args.effect, power=args.power))


def calibrate(args, overrides) -> int:
    """Says how often a study of hundreds of seeds is wrong where the truth is known (experiments/calibration.py)."""
    from transformer_jax.study.calibrate import as_markdown, calibrate

    found = calibrate(args.directory, pairs=args.pairs, pilot=args.pilot)
    for each in found:
        print(each)
    if args.write is not None:
        args.write.write_text(as_markdown(found))
    return 0 if all(each.holds for each in found) else 1


def add(commands, command) -> None:
    """Adds `study …` to the parser.

    Args:
      commands: where.
      command: `(name, function, group) -> parser` that calls the function.
    """
    study = commands.add_parser("study", help="Runs and compares the variants of one question.", allow_abbrev=False)
    group = study.add_subparsers(required=True, metavar="COMMAND")

    sub = command("run", run, group)
    sub.add_argument("file", metavar="experiments/FILE.py[:mode]")
    sub.add_argument("--workdir", type=Path, help="default: runs/NAME")
    sub.add_argument("--launcher", default="here", help="here (this process, the default), local (processes) or slurm")
    sub.add_argument("--processes", type=_positive, help="workers of --launcher=local or slurm")
    sub.add_argument("--members", type=_positive, help="runs that train together at most; left out: as fit into memory")
    sub.set_defaults(overridable=True)

    for name, function in (("status", status), ("report", report), ("work", work)):
        sub = command(name, function, group)
        sub.add_argument("directory", type=Path, help="of the study")
        if name == "status":
            sub.add_argument("--json", action="store_true")

    sub = command("compare", compare, group)
    sub.add_argument("first", type=Path, help="directory of a study")
    sub.add_argument("second", type=Path, help="directory of another one")
    sub.add_argument("--out", type=Path, metavar="FILE.md", help="writes it there, too")

    sub = command("power", power, group)
    sub.add_argument("directory", type=Path, help="of the study")
    sub.add_argument("--effect", type=float, action="append", help="in the metric's unit; may be given several times")
    sub.add_argument("--power", type=float, default=0.8, help="chance of finding it (0.8)")

    sub = command("calibrate", calibrate, group)
    sub.add_argument("directory", type=Path, help="of a finished study of many seeds")
    sub.add_argument("--pairs", type=_positive, default=4, help="seeds in each comparison (4)")
    sub.add_argument("--pilot", type=_positive, default=60, help="first seeds, from which the power is predicted (60)")
    sub.add_argument("--write", type=Path, metavar="FILE.md", help="writes the table there, too")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{text!r}: give a whole number of at least 1")
    return int(text)

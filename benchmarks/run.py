"""How fast a config trains on this machine.

python -m benchmarks.run train --config=configs/lm_web.py
python -m benchmarks.run train --config=configs/gpt2_124m.py --synthetic --vocab=50257 --record

python -m benchmarks.run variants --record

python -m benchmarks.run population --config=configs/small_lm.py --runs=8 --record

python -m benchmarks.run init --out=docs

python -m benchmarks.run scaling --compiler=cpu --compiler=H100 --out=docs

`train` prints a table. With --record it also adds a line to results.jsonl and a row to RESULTS.md in this folder.
`variants` measures every variant beside the plain model, `population` runs that train together against the same runs
one after another, `init` what each residual scheme starts from at depth, `scaling` what devices send as they grow.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from transformer_jax import config_file
from transformer_jax.combinations import MODEL_SPECS
from transformer_jax.data.tokenizers.base import SPECIALS
from transformer_jax.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark; returns the exit code: 0, 2 for a mistake of the user's, 130 if it was interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    args, rest = _parser().parse_known_args(argv)
    try:
        args.command(args, config_file.overrides_from(rest), argv)
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was recorded", file=sys.stderr)
        return 130


def train(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Measures the train step of a config."""
    _check(args)
    import jax

    from benchmarks import record as record_lib
    from benchmarks.measure import Options, measure

    config = config_file.load(args.config, overrides)
    steps = config.train.steps_per_dispatch if args.steps is None else args.steps
    path, _, mode = args.config.partition(":")
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": record_lib.command_line(argv),
        "config": Path(path).stem + (f":{mode}" if mode else ""),
        **measure(config, Options(args.repeats, steps, args.vocab)),
    }
    if jax.process_index() != 0:
        return
    print(record_lib.table(record))
    if args.record:
        record_lib.append(record, args.out)
        print(f"recorded in {args.out / 'results.jsonl'} and {args.out / 'RESULTS.md'}")


def variants(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Measures every variant beside the plain model."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `variants` takes no config; see --help for its sizes")
    for name in ("repeats", "width", "layers", "length", "rows"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: give 1 or more")
    keys = [key for key in MODEL_SPECS if key not in ("family", "encoder_mixer")]
    if args.only not in (None, *keys):
        raise UserError(f"--only={args.only}: give one of {', '.join(keys)}")
    if args.record and (args.only or not args.out.is_dir()):
        raise UserError(f"--record writes the whole table into a folder: --only={args.only}, --out={args.out}")
    import jax

    from benchmarks import record as record_lib
    from benchmarks.measure import machine
    from benchmarks.variants import Cost, measure_variants, table

    def tell(cost: Cost) -> None:
        relative = (
            f"{cost.ratio[0]:5.2f} x  memory {cost.memory_ratio:5.2f} x  parameters {cost.parameters_ratio:6.3f} x"
        )
        print(f"{cost.key:12} {cost.spec:28} {cost.step_ms:8.1f} ms  {relative}", flush=True)

    sizes = {name: getattr(args, name) for name in ("width", "layers", "length", "rows")}
    costs = measure_variants(args.only, repeats=args.repeats, tell=tell, **sizes)
    if args.record:
        here = machine()
        header = (
            f"`{record_lib.command_line(argv)} --record`, {datetime.now(UTC):%Y-%m-%d}, {here['device_count']} x "
            f"{here['device_kind']} ({here['cpu_count']} cores), jax {jax.__version__}: "
            f"{args.layers} layers of width {args.width}, {args.rows} rows of {args.length} tokens, float32, "
            f"{args.repeats} pairs each."
        )
        (args.out / "VARIANTS.md").write_text(table(costs, header))
        print(f"recorded in {args.out / 'VARIANTS.md'}")


def population(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Times runs that train together against the same runs one after another."""
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


POPULATIONS = (
    "# Runs that train together, against the same runs one after another\n\n"
    "Added by `benchmarks.run population --record`: wall-clock times of whole processes from a cold start, medians\n"
    "(min to max); compilation included, nothing cached. Compare the rows of one table only.\n"
)


def init(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Records activations and gradients of each residual scheme at initialisation."""
    if overrides:
        raise UserError(f"--config.{next(iter(overrides))}: `init` takes no config; see --help for its sizes")
    if args.depth < 1 or not args.out.is_dir():
        raise UserError(f"--depth={args.depth}, --out={args.out}: give 1 or more, and a folder")
    from benchmarks import record as record_lib
    from benchmarks.init_scale import picture, scales, table
    from transformer_jax.study.report.charts import require

    require()
    found = scales(args.depth)
    command = record_lib.command_line([arg for arg in argv if not arg.startswith("--out")]) + " --out=docs"
    (args.out / "init_scale.md").write_text(table(found, command))
    picture(found, args.out / "init_scale.png")
    print(table(found, command))


def scaling(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Counts what each device sends in one update as devices grow, in compiled programs."""
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


def _check(args) -> None:
    for name in ("repeats", "steps"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value}: give 1 or more")
    if args.synthetic != (args.vocab is not None):
        raise UserError("--synthetic and --vocab=N go together: random tokens need the size of a vocabulary")
    if args.vocab is not None and args.vocab <= SPECIALS:
        raise UserError(f"--vocab={args.vocab}: give {SPECIALS + 1} or more")
    if args.record and not args.out.is_dir():
        raise UserError(f"--out={args.out} is no folder")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("train", help=train.__doc__, allow_abbrev=False)
    sub.set_defaults(command=train)
    sub.add_argument("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    sub.add_argument("--repeats", type=int, default=5, help="timed dispatches (5)")
    sub.add_argument("--steps", type=int, help="updates per dispatch (the config's train.steps_per_dispatch)")
    sub.add_argument("--synthetic", action="store_true", help="random tokens: no corpus is read, no tokenizer fitted")
    sub.add_argument("--vocab", type=int, help="vocabulary of --synthetic")
    sub.add_argument("--record", action="store_true", help="add the result to results.jsonl and RESULTS.md")
    sub.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of these files (benchmarks/)")

    sub = commands.add_parser("variants", help=variants.__doc__, allow_abbrev=False)
    sub.set_defaults(command=variants)
    sub.add_argument("--only", help="one key of the model section, such as mixer (all)")
    sub.add_argument("--repeats", type=int, default=5, help="pairs of steps per variant (5)")
    for name, size in (("width", 128), ("layers", 4), ("length", 256), ("rows", 4)):
        sub.add_argument(f"--{name}", type=int, default=size, help=f"({size})")
    sub.add_argument("--record", action="store_true", help="write the table to VARIANTS.md")
    sub.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of VARIANTS.md (benchmarks/)")

    sub = commands.add_parser("population", help=population.__doc__, allow_abbrev=False)
    sub.set_defaults(command=population)
    sub.add_argument("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    sub.add_argument("--runs", type=int, default=8, help="how many, with seeds that follow each other (8)")
    sub.add_argument("--repeats", type=int, default=1, help="of every way, in turns (1)")
    sub.add_argument("--record", action="store_true", help="add the table to POPULATIONS.md")
    sub.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of POPULATIONS.md (benchmarks/)")

    sub = commands.add_parser("init", help=init.__doc__, allow_abbrev=False)
    sub.set_defaults(command=init)
    sub.add_argument("--depth", type=int, default=24, help="layers (24)")
    sub.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of init_scale.md and .png")

    sub = commands.add_parser("scaling", help=scaling.__doc__, allow_abbrev=False)
    sub.set_defaults(command=scaling)
    known = ("cpu", "H100", "v5e")
    sub.add_argument("--compiler", action="append", choices=known, help="several may be given (cpu); minutes for each")
    sub.add_argument("--out", type=Path, default=Path("docs"), help="folder of scaling.md and .png (docs)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

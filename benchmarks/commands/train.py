"""Measures the train step of a config, alone or beside peers."""

from datetime import UTC, datetime
from pathlib import Path

from benchmarks import versus
from transformer_jax import config_file
from transformer_jax.data.tokenizers.base import SPECIALS
from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    add("--repeats", type=int, default=5, help="timed dispatches, or rounds of a contest (5)")
    add("--steps", type=int, help="updates per repeat, in one dispatch (the config's train.steps_per_dispatch)")
    add("--synthetic", action="store_true", help="random tokens: no corpus is read, no tokenizer fitted")
    add("--vocab", type=int, help="vocabulary of random tokens (of a contest: what the config's tokenizer says)")
    versus.options(parser)


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Prints a table; with `--record` adds it to the files."""
    _check(args)
    config = config_file.load(args.config, overrides)
    steps = config.train.steps_per_dispatch if args.steps is None else args.steps
    if args.peer:
        versus.race(args, argv, [versus.task_of(config, "train", args.vocab, updates=steps)])
        return
    import jax

    from benchmarks import record as record_lib
    from benchmarks.measure import Options, measure

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


def _check(args) -> None:
    versus.check(args, "repeats", "steps")
    if not args.peer and args.synthetic != (args.vocab is not None):
        raise UserError("--synthetic and --vocab=N go together: random tokens need the size of a vocabulary")
    if args.vocab is not None and args.vocab <= SPECIALS:
        raise UserError(f"--vocab={args.vocab}: give {SPECIALS + 1} or more")

"""Compiles the train step of a config at several depths, beside peers."""

from benchmarks import versus
from transformer_jax import config_file
from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    add("--layers", type=versus.numbers, default=(6, 24, 48), help="depths (6,24,48)")
    add("--repeats", type=int, default=1, help="cold starts of each (1)")
    add("--vocab", type=int, help="vocabulary (what the config's tokenizer says)")
    versus.options(parser)


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Prints a table of all depths; with `--record` adds it to the files."""
    versus.check(args, "repeats")
    if min(args.layers) < 1:
        raise UserError(f"--layers={','.join(map(str, args.layers))}: give 1 or more")
    tasks = []
    for layers in args.layers:
        config = config_file.load(args.config, overrides)
        config.model.layers = config.model.encoder_layers = layers
        tasks.append(versus.task_of(config, "train", args.vocab, updates=1))
    versus.race_to_compile(args, argv, tasks)

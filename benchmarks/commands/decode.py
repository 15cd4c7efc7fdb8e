"""Decodes greedily behind random prompts, with a cache, beside peers."""

from benchmarks import versus
from transformer_jax import config_file
from transformer_jax.errors import UserError


def options(parser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    add("--rows", type=versus.numbers, default=(1, 16), help="batch sizes, each a contest (1,16)")
    add("--prompt", type=int, default=16, help="tokens of a prompt, which are read first (16)")
    add("--new", type=int, default=256, help="tokens behind it (256)")
    add("--repeats", type=int, default=5, help="rounds (5)")
    add("--vocab", type=int, help="vocabulary (what the config's tokenizer says)")
    versus.options(parser)


def run(args, overrides: dict[str, str], argv: list[str]) -> None:
    """Prints a table for each batch size; with `--record` adds them to the files."""
    versus.check(args, "repeats", "prompt", "new")
    if min(args.rows) < 1:
        raise UserError(f"--rows={','.join(map(str, args.rows))}: give 1 or more")
    config = config_file.load(args.config, overrides)
    given = dict(prompt=args.prompt, new=args.new)
    versus.race(args, argv, [versus.task_of(config, "decode", args.vocab, rows=rows, **given) for rows in args.rows])

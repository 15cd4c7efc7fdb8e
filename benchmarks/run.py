"""How fast configs train and decode on this machine, alone and beside peers.

python -m benchmarks.run train --config=configs/lm_web.py
python -m benchmarks.run train --config=configs/gpt2_124m.py --synthetic --vocab=50257 --record
python -m benchmarks.run train --config=benchmarks/configs/decoder_6x384.py --peer=gpt2 --peer="nanogpt(path='nanoGPT')"
python -m benchmarks.run decode --config=benchmarks/configs/decoder_6x384.py --rows=1,16 --peer=gpt2
python -m benchmarks.run compile --config=benchmarks/configs/decoder_24x128.py --layers=6,24,48 --peer=gpt2

python -m benchmarks.run variants --record

python -m benchmarks.run population --config=configs/small_lm.py --runs=8 --record

python -m benchmarks.run init --out=docs

python -m benchmarks.run scaling --compiler=cpu --compiler=H100 --out=docs

`train` prints a table. With --record it also adds a line to results.jsonl and a row to RESULTS.md in this folder; with
--peer it is a contest, whose table goes there. `decode` and `compile` are contests. `variants` measures every variant
beside the plain model, `population` runs that train together against the same runs one after another, `init` what each
residual scheme starts from at depth, `scaling` what devices send as they grow. Each command is a file in commands/.
"""

import argparse
import importlib
import pkgutil
import sys

from benchmarks import commands
from transformer_jax import config_file
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


def _parser() -> argparse.ArgumentParser:
    """A command for each module of `commands`: its docstring is the help, `options` adds flags, `run` does it."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.splitlines()[0], allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for info in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        sub = subparsers.add_parser(info.name, help=module.__doc__.splitlines()[0], allow_abbrev=False)
        sub.set_defaults(command=module.run)
        module.options(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `python -m transformer_jax COMMAND`, the only place that parses flags."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from transformer_jax import (
    config_file,
    evaluate_commands,
    generate_commands,
    interop_commands,
    plan_commands,
    study_commands,
    train_commands,
)
from transformer_jax.errors import UserError, printable
from transformer_jax.terminal import plain_output


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    0 is success, 1 that runs of a study failed or a run diverged, 2 a mistake of the user's (one message, no
    traceback), 130 that the work was interrupted and can be resumed, 75 that it was SIGTERM that did so: it wants to be
    queued again. A process that the watchdog ends has 70.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        if rest and "overridable" not in args:
            raise UserError(f"unknown argument {rest[0]!r} (see --help)")
        overrides = config_file.overrides_from(rest)
        with plain_output():
            return args.command(args, overrides) or 0
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stopped:
        print(f"interrupted: {stopped or 'the same command resumes from the last checkpoint'}", file=sys.stderr)
        return getattr(stopped, "code", 130)


def inspect_heads(args, overrides) -> None:
    """Ranks the heads of a trained run, and shows the loss as they are removed."""
    from transformer_jax import compilation
    from transformer_jax.inspect.picture import draw
    from transformer_jax.inspect.run import inspect_heads as look
    from transformer_jax.study.report.charts import require

    require()
    compilation.keep()
    report = look(args.workdir, split=args.split, batches=args.batches)
    print(f"{'head':24}{'importance':>12}{'loss without it':>18}")
    for head in reversed(report.order("importance")):
        print(f"{head!s:24}{report.importance[head]:12.4f}{report.leave_one_out[head]:+18.4f}")
    print(f"\n{'heads left':24}" + "".join(f"{name:>16}" for name in report.curves))
    total = len(report.importance)
    for removed in range(total + 1):
        means = [sum(curve[removed] for curve in several) / len(several) for several in report.curves.values()]
        print(f"{total - removed:<24}" + "".join(f"{mean:16.4f}" for mean in means))
    draw(report, args.workdir / "heads.png", f"{report.examples} rows of the split {report.split}")
    print(f"\npicture: {args.workdir / 'heads.png'}")


def inspect_prune(args, overrides) -> None:
    """Makes a run directory with a smaller model, the heads that matter least taken out."""
    from transformer_jax import compilation
    from transformer_jax.inspect.run import prune_run

    compilation.keep()
    told = prune_run(args.workdir, args.out, keep=args.keep, by=args.by, split=args.split, batches=args.batches)
    before, after = told["parameters"]
    print(f"{told['kept']} of {told['heads']} heads kept: {before:,} -> {after:,} parameters")
    print(f"largest difference to the masked model's logits: {told['difference']:.1e}; {args.out}")


def variants(args, overrides) -> None:
    """Prints what can be switched: equation, paper, parameters, cost, what it works with."""
    import dataclasses

    from transformer_jax.catalogue import as_markdown, as_text, catalogue

    entries = catalogue(args.axis)
    if args.write is not None:
        args.write.write_text(as_markdown(entries))
    elif args.json:
        print(json.dumps({key: [dataclasses.asdict(e) for e in found] for key, found in entries.items()}, indent=1))
    else:
        print(as_text(entries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="transformer-jax",
        description="Does this change to the Transformer matter, what does it cost, and is the difference real?",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, group=commands):
        sub = group.add_parser(name, help=function.__doc__.splitlines()[0], allow_abbrev=False)
        sub.set_defaults(command=function)
        return sub

    plain = (train_commands, plan_commands, generate_commands, evaluate_commands, interop_commands, study_commands)
    for own in plain:
        own.add(commands, command)

    inspect = commands.add_parser("inspect", help="Looks into a trained model.", allow_abbrev=False)
    inspections = inspect.add_subparsers(required=True, metavar="COMMAND")
    heads = command("heads", inspect_heads, inspections)
    prune = command("prune", inspect_prune, inspections)
    for sub in (heads, prune):
        sub.add_argument("--workdir", type=Path, required=True, help="of a trained run")
        sub.add_argument("--split", choices=("train", "valid", "test"), default="valid")
        sub.add_argument("--batches", type=int, default=16, help="of the split at most; 0 is all (16)")
    prune.add_argument("--out", type=Path, required=True, help="a new directory")
    prune.add_argument("--keep", type=int, required=True, help="how many heads, of all layers together")
    prune.add_argument("--by", choices=("importance", "leave_one_out"), default="importance")

    sub = command("variants", variants)
    sub.add_argument("axis", nargs="?", help="only this place of a spec, such as position or mixer")
    sub.add_argument("--write", type=Path, metavar="FILE.md", help="writes docs/variants.md instead")
    sub.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The commands that judge and finish a trained run: `evaluate` and `merge`."""

from pathlib import Path

from transformer_jax.errors import UserError

_WIDTH = 14


def evaluate(args, overrides) -> None:
    """Scores a trained run on a split beside what is trivial: losses, length sets, classes, answers."""
    from transformer_jax import compilation
    from transformer_jax.evaluate.run import evaluate_run
    from transformer_jax.files import write_json

    if args.harness_tasks is not None:
        _harness(args)
        return
    if args.harness_include is not None:
        raise UserError(f"--harness_include={args.harness_include} is for --harness_tasks: give tasks, too")
    if args.window is not None and args.stride is None:
        raise UserError(f"--window={args.window} is of the sliding window: give --stride=1 to {args.window}, too")
    compilation.keep()
    split = args.split or "test"
    found = evaluate_run(
        args.workdir, split, limit=args.limit, max_new=args.max_new, stride=args.stride, window=args.window
    )
    write_json(args.workdir / f"evaluation-{split}.json", found)
    print(f"split {found['split']}, step {found['step']}, {found['family']}, view {found['view']}")
    _show_losses(found)
    if "tests" in found:
        _show_tests(found)
    if "classes" in found:
        _show_classes(found["classes"])
    if "scores" in found:
        _show_answers(found)


def merge(args, overrides) -> None:
    """Makes a run directory of the plain model that a run with an adapter (LoRA) has become."""
    from transformer_jax.train.merge import merge_run

    told = merge_run(args.workdir, args.out)
    before, after = told["parameters"]
    print(f"{told['adapter']} merged at step {told['step']}: {before:,} -> {after:,} parameters")
    print(f"largest difference of the logits: {told['difference']:.1e}; {args.out}")


def add(commands, command) -> None:
    """Adds `evaluate` and `merge` to the parser.

    Args:
      commands: where.
      command: `(name, function, group) -> parser` that calls the function.
    """
    sub = command("evaluate", evaluate, commands)
    sub.add_argument("--workdir", type=Path, required=True, help="of a trained run")
    sub.add_argument("--split", choices=("train", "valid", "test"), help="default: test")
    sub.add_argument("--limit", type=_count, help="pairs to answer, or examples of a task, at most; 0 is all (default)")
    sub.add_argument("--max_new", type=_count, help="tokens per answer to a pair at most (256)")
    sub.add_argument("--stride", type=_count, help="also the loss with a sliding window that moves by so many tokens")
    sub.add_argument("--window", type=_count, help="length of the window of --stride, or of tasks (data.length)")
    sub.add_argument("--harness_tasks", help="tasks of lm-evaluation-harness instead, separated by commas")
    sub.add_argument("--harness_include", type=Path, help="a directory with tasks of your own")

    sub = command("merge", merge, commands)
    sub.add_argument("--workdir", type=Path, required=True, help="of a run with an adapter")
    sub.add_argument("--out", type=Path, required=True, help="a new directory")


def _harness(args) -> None:
    for name in ("split", "stride", "max_new"):
        value = getattr(args, name)
        if value is not None:
            raise UserError(
                f"--{name}={value} with --harness_tasks: the tasks say what is read and written; leave it out "
                "(--limit and --window are accepted)"
            )
    from transformer_jax import compilation
    from transformer_jax.evaluate.harness import evaluate_tasks
    from transformer_jax.files import write_json

    compilation.keep()
    tasks = [task.strip() for task in args.harness_tasks.split(",")]
    found = evaluate_tasks(
        args.workdir, tasks, include=args.harness_include, limit=args.limit or None, window=args.window
    )
    write_json(args.workdir / "evaluation-harness.json", found)
    for task, values in found["results"].items():
        for name, value in sorted(values.items()):
            if isinstance(value, float):
                print(f"{task:24}{name.removesuffix(',none'):24}{value:12.4f}")


def _show_losses(found: dict) -> None:
    print(f"{'':{_WIDTH}}{'nats per target':>18}{'bits per byte':>16}{'accuracy':>12}")
    for name, values in found["losses"].items():
        print(f"{name:{_WIDTH}}{values['loss']:18.4f}{_cell(values.get('bits_per_byte'), 16)}", end="")
        print(_cell(values.get("accuracy"), 12))
    if "sliding" in found:
        own = found["sliding"]
        print(f"{'sliding':{_WIDTH}}{own['loss']:18.4f}{_cell(own.get('bits_per_byte'), 16)}", end="")
        print(f"{_cell(own['accuracy'], 12)}  window {own['window']}, stride {own['stride']}")
        print(f"perplexity {found['losses']['model']['perplexity']:.4f}, sliding {own['perplexity']:.4f}")


def _show_tests(found: dict) -> None:
    print(f"\n{'data.tests':{_WIDTH}}{'row length':>18}{'nats per target':>16}{'accuracy':>12}{'exact match':>14}")
    for name, values in found["tests"].items():
        cells = (_cell(values.get(key), width) for key, width in (("loss", 16), ("accuracy", 12), ("exact_match", 14)))
        print(f"{name:{_WIDTH}}{values['length']:18}" + "".join(cells))
    for name, reason in found["not_applicable"].items():
        print(f"{name}: {reason}")


def _show_classes(found: dict) -> None:
    print(f"\n{found['examples']} examples: accuracy {found['accuracy']:.4f}, macro F1 {found['macro_f1']:.4f}", end="")
    print(f"; always the most frequent class: {found['majority']:.4f}")
    print(f"{'class':{_WIDTH}}{'examples':>10}{'precision':>11}{'recall':>9}{'F1':>9}")
    for name, own in found["classes"].items():
        cells = f"{own['examples']:10}{own['precision']:11.3f}{own['recall']:9.3f}{own['f1']:9.3f}"
        print(f"{name:{_WIDTH}}{cells}")
    for pair in found["confusions"]:
        print(f"{pair['true']} taken for {pair['predicted']}: {pair['count']} ({pair['share']:.1%})")


def _show_answers(found: dict) -> None:
    model, copy = found["scores"]["model"], found["scores"]["copy"]
    print(f"\n{found['pairs']} pairs, greedy answers\n{'':20}{'model':>12}{'copied source':>16}")
    for name in ("exact_match", "normalised_match", "token_f1", "bleu", "chrf"):
        print(f"{name:20}{model[name]:12.3f}{copy[name]:16.3f}")
    print(f"BLEU {model['bleu_signature']}; chrF {model['chrf_signature']}; F1 {model['f1_signature']}")
    for sample in found["samples"]:
        print("\n" + "\n".join(f"{name:10} {sample[name]}" for name in ("source", "reference", "answer")))


def _cell(value: float | None, width: int) -> str:
    return f"{'—':>{width}}" if value is None else f"{value:{width}.4f}"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"{text!r}: give a whole number of at least 0")
    return int(text)

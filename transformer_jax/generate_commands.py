"""The command of decoding: `python -m transformer_jax generate`."""

import sys
from pathlib import Path

from transformer_jax.errors import UserError

_FILTERS = ("top_k", "top_p", "min_p")  # of what is drawn


def generate(args, overrides) -> None:
    """Continues or answers prompts with a trained run."""
    from transformer_jax import compilation
    from transformer_jax.decode import Beams, Generator, Sampling, load_run

    filters = {name: value for name in _FILTERS if (value := getattr(args, name)) is not None}
    sampling = Sampling(args.temperature, repetition_penalty=args.repetition_penalty, **filters)
    searches = args.beams != 1 or args.n_best != 1
    _refuse_idle(args, searches)
    beams = None
    if searches:
        penalty = 1.0 if args.length_penalty is None else args.length_penalty
        beams = Beams(args.beams, penalty, {"true": True, "never": "never"}.get(args.early_stopping, False))
    ahead = 4 if args.draft_tokens is None else args.draft_tokens
    if ahead < 1:
        raise UserError(f"--draft_tokens={ahead}: give at least 1")
    prompts = args.prompt or [line.rstrip("\n") for line in sys.stdin]
    if not prompts:
        raise UserError("no prompt: give --prompt=TEXT (as often as you like), or lines on standard input")
    compilation.keep()
    draft = None if args.draft is None else load_run(args.draft)
    generator = Generator.of(load_run(args.workdir), draft, ahead)
    given = dict(max_new=args.max_new, sampling=sampling, stop=args.stop)
    leads = [f"{prompt} -> " if args.arrow else prompt for prompt in prompts]
    if args.n_best > 1:
        if args.stream:
            raise UserError("--stream with --n_best: which beam wins is known at the end only; give one of them")
        found = generator.search(prompts, beams=beams, n_best=args.n_best, **given)
        for lead, hypotheses in zip(leads, found, strict=True):
            for hypothesis in hypotheses:
                print(f"{hypothesis.score:.4f}\t{lead}{hypothesis.text}")
        return
    stream = _InOrder(leads) if args.stream else None
    answers = generator.complete(prompts, seed=args.seed, beams=beams, stream=stream, **given)
    if not args.stream:
        for lead, answer in zip(leads, answers, strict=True):
            print(f"{lead}{answer}")


def _refuse_idle(args, searches: bool) -> None:
    """Refuses flags that would change nothing."""
    rules = [
        (_FILTERS, searches, "with beams, which draw nothing: leave it out"),
        (_FILTERS, args.temperature == 0, "at --temperature=0, which draws nothing: give more, such as 0.8"),
        (("length_penalty", "early_stopping"), not searches, "is for a beam search: give --beams=2 or more, too"),
        (("draft_tokens",), args.draft is None, "is for a draft model: give --draft=RUNDIR, too"),
    ]
    for names, idle, advice in rules:
        for name in names:
            value = getattr(args, name)
            if idle and value is not None:
                raise UserError(f"--{name}={value} {advice}")


class _InOrder:
    """Prints answers while they grow, one after the other: the next one's beginning waits for the end of the first."""

    def __init__(self, leads: list[str]):
        self._waiting = [[lead] for lead in leads]
        self._ended = [False] * len(leads)
        self._at = 0

    def __call__(self, index: int, piece: str, ended: bool) -> None:
        self._waiting[index].append(piece)
        self._ended[index] = ended
        while self._at < len(self._waiting):
            sys.stdout.write("".join(self._waiting[self._at]))
            self._waiting[self._at] = []
            if not self._ended[self._at]:
                break
            sys.stdout.write("\n")
            self._at += 1
        sys.stdout.flush()


def add(commands, command) -> None:
    """Adds `generate` to the parser.

    Args:
      commands: where.
      command: `(name, function, group) -> parser` that calls the function.
    """
    sub = command("generate", generate, commands)
    sub.add_argument("--workdir", type=Path, required=True, help="of a trained run")
    sub.add_argument("--prompt", action="append", help="several may be given; standard input, a line each, if none")
    sub.add_argument("--max_new", type=int, default=100, help="tokens per answer at most (100)")
    sub.add_argument("--stop", action="append", default=[], help="a text that ends an answer; several may be given")
    sub.add_argument("--stream", action="store_true", help="print answers while they are written")
    sub.add_argument("--arrow", action="store_true", help="print 'prompt -> answer'")
    sub.add_argument("--seed", type=int, default=0)

    sub.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    sub.add_argument("--top_k", type=int, help="only the k most likely tokens; 0 is off (default)")
    sub.add_argument("--top_p", type=float, help="only tokens that hold this much; 1 is off (default)")
    sub.add_argument("--min_p", type=float, help="only tokens so likely beside the best; 0 is off (default)")
    sub.add_argument("--repetition_penalty", type=float, default=1.0, help="above 1 repeats less; 1 is off (default)")

    sub.add_argument("--beams", type=int, default=1, help="unfinished answers that a search keeps; 1 is none (default)")
    sub.add_argument("--n_best", type=int, default=1, help="answers of the search to print, with scores (1)")
    sub.add_argument("--length_penalty", type=float, help="above 0 favours long answers (1)")
    sub.add_argument("--early_stopping", choices=("false", "true", "never"), help="of a search (false)")

    sub.add_argument("--draft", type=Path, metavar="RUNDIR", help="a small model that writes ahead, for speed")
    sub.add_argument("--draft_tokens", type=int, help="how many tokens it writes ahead (4)")

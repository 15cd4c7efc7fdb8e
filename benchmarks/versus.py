"""Our model against peers, from the command line to table and record: what `train`, `decode` and `compile` share."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import contest_table
from benchmarks import record as record_lib
from benchmarks.contest import Contestant, Found, contest
from benchmarks.peers import peers
from benchmarks.peers.base import shown, told
from benchmarks.task import Task
from transformer_jax import config as config_lib
from transformer_jax.data.tokenizers import base as tokens
from transformer_jax.errors import UserError

OURS = "ours"


def options(parser: ArgumentParser) -> None:
    """The flags of every contest."""
    add, here, known = parser.add_argument, Path(__file__).parent, ", ".join(peers.names())
    add(
        "--peer",
        action="append",
        default=[],
        metavar="SPEC",
        help=f"timed beside ours on random tokens, several times: {known}",
    )
    add("--python", default=sys.executable, help="the interpreter that peers run in (this one)")
    add("--limit", type=float, default=900.0, help="seconds after which a contestant that says nothing is out (900)")
    add("--record", action="store_true", help="add the result to results.jsonl and RESULTS.md")
    add("--out", type=Path, default=here, help="folder of these files (benchmarks/)")


def numbers(text: str) -> tuple[int, ...]:
    """`'6,24'` -> `(6, 24)`, for flags."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r}: give whole numbers, such as 1,16") from None


def check(args, *names: str) -> None:
    """Refuses flags out of range; `names` are those that count something, None where one is not given.

    Raises:
      UserError: naming the flag, its value and what would do.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value}: give 1 or more")
    if not args.limit > 0:
        raise UserError(f"--limit={args.limit:g}: give a number of seconds above 0")
    if args.record and not args.out.is_dir():
        raise UserError(f"--out={args.out} is no folder")


def task_of(config, kind: str, vocab: int | None, rows: int | None = None, **given) -> Task:
    """The task at a config's sizes.

    Args:
      vocab: of random tokens; None takes what the config's tokenizer aims at.
      rows: of a batch; None takes the config's.

    Raises:
      UserError: for a config whose keys or values are wrong.
    """
    found = config_lib.structure_problems(config)
    if found:
        raise UserError("\n".join(found))
    if vocab is None:
        tokenizer = tokens.tokenizers.build(config.data.tokenizer)
        vocab = getattr(tokenizer, "vocab", None) or tokenizer.vocab_size
    if vocab <= tokens.SPECIALS:
        raise UserError(f"--vocab={vocab}: give {tokens.SPECIALS + 1} or more")
    rows = config.data.batch_size if rows is None else rows
    seed = config.seed
    return Task(kind, config_lib.to_dict(config), vocab, tokens.SPECIALS, rows, threads=_cores(), seed=seed, **given)


def race(args, argv: list[str], tasks: list[Task]) -> None:
    """A contest for each task: prints its table and records it if asked to.

    Raises:
      UserError: for what a contestant cannot do, before anything runs.
    """
    specs = _checked(args, tasks)
    for task in tasks:
        found = contest(_contestants(args, specs, task), args.repeats, limit=args.limit, tell=_tell)
        record = contest_table.record_of(task, found, args.repeats)
        _finish(args, argv, record, contest_table.table)


def race_to_compile(args, argv: list[str], tasks: list[Task]) -> None:
    """Cold starts at every depth, each contestant in turn; prints a table of all and records it if asked to.

    Raises:
      UserError: for what a contestant cannot do, before anything runs.
    """
    specs = _checked(args, tasks)
    depths: dict[int, list[list[Found]]] = {}
    for task in tasks:
        layers = task.model["layers"]
        for repeat in range(args.repeats):
            _tell(f"{layers} layers, cold start {repeat + 1}")
            contestants = _contestants(args, specs, task)
            order = contestants if repeat % 2 == 0 else contestants[::-1]
            # One contest each: a process that has compiled is gone before the next one starts.
            found = {one.name: contest([one], 0, limit=args.limit, tell=_tell)[0] for one in order}
            depths.setdefault(layers, []).append([found[one.name] for one in contestants])
    record = contest_table.compile_record_of(tasks[0], depths)
    _finish(args, argv, record, contest_table.compile_table)


def _finish(args, argv, record: dict, table) -> None:
    path, _, mode = args.config.partition(":")
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": record_lib.command_line(argv),
        "config": Path(path).stem + (f":{mode}" if mode else ""),
        **record,
    }
    text = table(record)
    print(text)
    if args.record:
        record_lib.append_section(record, text, args.out)
        print(f"recorded in {args.out / 'results.jsonl'} and {args.out / 'RESULTS.md'}")


def _checked(args, tasks: list[Task]) -> list[str]:
    specs = [OURS, *args.peer]
    names = [shown(spec) for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--peer={name} is given twice, or is the one that the others are compared with")
    problems = [problem for task in tasks for problem in task.problems()]
    for spec in specs:
        problems += [line for task in tasks for line in told(peers.build(spec, task=task).problems(), spec)]
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return specs


def _contestants(args, specs: list[str], task: Task) -> list[Contestant]:
    root = str(record_lib.ROOT)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(task.threads))
    environment = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # they share the device's memory
        "HF_HUB_OFFLINE": "1",
        **threads,
    }
    return [
        Contestant(
            name=shown(spec),
            command=(sys.executable if peers.lookup(spec).ours else args.python, "-m", "benchmarks.worker"),
            build={"peer": spec, "task": vars(task)},
            environment=environment,
            ours=spec == OURS,
        )
        for spec in specs
    ]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

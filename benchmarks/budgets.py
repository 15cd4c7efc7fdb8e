"""`python -m benchmarks.budgets`: what the compiled programs of reference configs cost, against what is recorded.

Times are too noisy to test; what a compiler says of a program is not. See docs/budgets.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

RECORDED = Path(__file__).with_name("budgets.json")
TOLERANCE = 0.02
# All that may decide what the compiler makes of a program, but the code of this repository.
_VERSIONS = ("jax", "jaxlib", "flax", "optax")
# The same program on every x86 machine: one core to split loops for, and instructions that all of them have.
_FLAGS = "--xla_cpu_max_isa=AVX2 --xla_force_host_platform_device_count=8"
_KEPT = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "LANG", "LD_LIBRARY_PATH")

Figures = dict[str, dict[str, float]]  # by case and name


def setting() -> dict[str, str]:
    """What figures hold for."""
    return {name: version(name) for name in _VERSIONS} | {"machine": platform.machine()}


def recorded(path: Path = RECORDED) -> tuple[dict[str, str], Figures]:
    """What the recorded figures hold for, and the figures."""
    told = json.loads(path.read_text())
    return told["setting"], told["figures"]


def measure(cases: list[str] | None = None) -> Figures:
    """The figures of cases (all if None), from a process of its own in which nothing but they decide.

    Raises:
      RuntimeError: with its last words, if that process fails.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": _FLAGS}
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.budget_cases", str(answer), *(cases or [])]
        done = subprocess.run(
            command, env=environment, cwd=RECORDED.parents[1], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace")[-4000:])
        return json.loads(answer.read_text())


def problems(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """What of one case does not fit its record, a line each."""
    found = [f"{name}: not recorded: record it" for name in now if name not in before]
    found += [f"{name}: is no more: record it" for name in before if name not in now]
    for name in before.keys() & now.keys():
        change = relative(before[name], now[name])
        if abs(change) > TOLERANCE:
            verdict = "more than the budget" if change > 0 else "better: record it"
            found.append(f"{name}: {before[name]:,.0f} -> {now[name]:,.0f} ({change:+.1%}): {verdict}")
    return sorted(found)


def relative(before: float, now: float) -> float:
    """The change as a part of what it was."""
    if before == now:
        return 0.0
    return (now - before) / before if before else float("inf")


def table(before: Figures, now: Figures) -> str:
    """The figures as lines of case, name, recorded, now, change."""
    lines = [f"{'case':24}{'figure':48}{'recorded':>16}{'now':>16}{'change':>10}"]
    for case, own in now.items():
        old = before.get(case, {})
        for name in sorted(old.keys() | own.keys()):
            was, is_ = (f"{figures[name]:,.0f}" if name in figures else "—" for figures in (old, own))
            change = relative(old[name], own[name]) if name in old and name in own else None
            shown = "" if change in (None, 0.0) else f"{change:+.1%}"
            lines.append(f"{case:24}{name:48}{was:>16}{is_:>16}{shown:>10}".rstrip())
    return "\n".join(lines)


def record(now: Figures, path: Path = RECORDED) -> None:
    """Writes the figures; those of cases that are not in `now` stay if they hold for the same setting."""
    kept: Figures = {}
    if path.exists():
        before, kept = recorded(path)
        kept = kept if before == setting() else {}
    told = {"setting": setting(), "figures": kept | now}
    path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def main(argv: list[str] | None = None) -> int:
    """1 if a figure does not fit its record, and is not recorded now."""
    from benchmarks.budget_cases import CASES

    parser = argparse.ArgumentParser(prog="benchmarks.budgets", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--record", action="store_true", help="writes the figures to budgets.json")
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="only this one; repeatable")
    args = parser.parse_args(argv)
    of, before = recorded() if RECORDED.exists() else ({}, {})
    if of != setting():
        print(f"recorded for {of or 'nothing'}, this is {setting()}: differences may be the compiler's", flush=True)
    now = measure(args.case)
    print(table(before, now))
    if args.record:
        record(now)
        print(f"\nrecorded in {RECORDED.name}")
        return 0
    found = [f"{case}: {line}" for case, own in now.items() for line in problems(before.get(case, {}), own)]
    print("\n" + ("\n".join(found) if found else f"all within {TOLERANCE:.0%}"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

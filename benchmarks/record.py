"""A measurement as a table to read, a line of results.jsonl and a row of RESULTS.md."""

import json
import re
import shlex
from pathlib import Path

from transformer_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
_HEADER = (
    "# Measured speed\n\n"
    "Rows are added by `--record`; results.jsonl beside this file has every figure of each. tokens/s and step are\n"
    "medians over the repeats (min to max), tokens without padding. Compare rows of one machine only. Contests with\n"
    "peers follow below, a table each.\n\n"
)
_COLUMNS = (
    "date",
    "device",
    "config",
    "tokens/s",
    "step",
    "MFU",
    "peak memory",
    "compile",
    "versions",
    "command",
)
# A path that would tell where things lie on this machine: absolute, at home, or outside of this folder.
_PATH = re.compile(r"(?:(?<=^)|(?<=[=('\"\s]))(?:~|/|\.\./|[A-Za-z]:\\)[^'\",():]*")


def command_line(argv: list[str]) -> str:
    """The command that repeats a measurement, without the folders of the machine it was made on."""
    kept = [arg for arg in argv if arg != "--record" and not arg.startswith("--out=")]
    return shlex.join(["python", "-m", "benchmarks.run", *(_PATH.sub(_short, arg) for arg in kept)])


def table(record: dict) -> str:
    """The record as lines of `name  value`."""
    model, batch, memory = record["model"], record["batch"], record["memory"]
    source = "random tokens" if record["synthetic"] else "the config's data"
    planned = ", ".join(f"{name} {_size(memory[name])}" for name in ("argument", "output", "temp"))
    lines = {
        "config": f"{record['config']}  ({record['fingerprint']})",
        "machine": _machine(record) + f", {record['machine']['cpu_count']} CPU cores",
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
        "model": f"{model['family']}, {model['parameters']:,} parameters, vocabulary {model['vocabulary']:,}, "
        f"{model['dtype']}, attention {model['attention']}, {model['stack']}",
        "batch": f"{batch['rows']} rows of {batch['positions_per_row']:,}, {source}, {batch['fill']:.1%} filled",
        "timing": f"{record['repeats']} repeats of {record['updates_per_dispatch']} updates",
        "tokens/s": _spread(record["tokens_per_second"], ",.0f"),
        "step": _spread(record["step_ms"], ",.1f") + " ms",
        "FLOPs per token": f"{model['flops_per_token']:.4g} (forward and backward, analytic)",
        "MFU": _mfu(record),
        "peak memory": _peak(memory),
        "compiled program": f"{planned} (per device; {_size(memory['alias'])} of the output overwrites arguments)",
        "compile": f"{record['compile_seconds']:.1f} s",
        "loss": f"{record['loss']:.3f} after the last repeat, {record['skipped']} updates skipped",
    }
    return "\n".join(f"{name:18}{value}" for name, value in lines.items())


def append(record: dict, folder: Path) -> None:
    """Adds the record to `folder`'s results.jsonl and to the table at the top of its RESULTS.md.

    Raises:
      UserError: if they cannot be written.
    """
    top, rest = _page(folder)
    _write(record, folder, top + _markdown(_row(record)) + rest)


def append_section(record: dict, section: str, folder: Path) -> None:
    """Adds the record to `folder`'s results.jsonl, and what it looks like to the end of its RESULTS.md.

    Raises:
      UserError: if they cannot be written.
    """
    top, rest = _page(folder)
    _write(record, folder, f"{top}{rest}\n{section}")


def _page(folder: Path) -> tuple[str, str]:
    """RESULTS.md up to the last row of its table, and what follows."""
    try:
        lines = (folder / "RESULTS.md").read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return _HEADER + _markdown(_COLUMNS) + _markdown(["---"] * len(_COLUMNS)), ""
    except OSError as error:
        raise UserError(f"--out={folder} cannot be read: {error.strerror}") from None
    end = next((i for i, line in enumerate(lines) if line.startswith("|")), len(lines))
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "".join(lines[:end]), "".join(lines[end:])


def _write(record: dict, folder: Path, page: str) -> None:
    try:
        with (folder / "results.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record, sort_keys=True) + "\n")
        (folder / "RESULTS.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out={folder} cannot be written: {error.strerror}") from None


def _row(record: dict) -> list[str]:
    versions = record["versions"]
    return [
        record["date"][:10],
        _machine(record),
        record["config"],
        _spread(record["tokens_per_second"], ",.0f"),
        _spread(record["step_ms"], ",.1f") + " ms",
        _mfu(record),
        _peak(record["memory"]),
        f"{record['compile_seconds']:.1f} s",
        ", ".join(f"{name} {versions[name]}" for name in ("jax", "flax", "python")),
        f"`{record['command']}`",
    ]


def _markdown(cells) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _machine(record: dict) -> str:
    m = record["machine"]
    processes = f", {m['process_count']} processes" if m["process_count"] > 1 else ""
    return f"{m['device_count']} x {m['device_kind']} ({m['platform']}{processes})"


def _spread(values: dict[str, float], form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}} to {values['max']:{form}})"


def _mfu(record: dict) -> str:
    return "peak unknown" if record["mfu"] is None else f"{record['mfu']:.1%}"


def _peak(memory: dict) -> str:
    if memory["device_peak"] is not None:
        return _size(memory["device_peak"])
    if memory["argument"] is None:
        return "unknown"
    return _size(memory["argument"] + memory["output"] + memory["temp"] - memory["alias"]) + " (compiled)"


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "unknown"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.2f} {unit}"
    return f"{n_bytes / 2**10:.1f} KiB"


def _short(match: re.Match) -> str:
    path = Path(match[0]).expanduser().resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else re.split(r"[/\\]", match[0].rstrip("/\\"))[-1]

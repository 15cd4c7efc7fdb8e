"""What a contest has found, as a record for results.jsonl and as a section of RESULTS.md."""

from collections.abc import Mapping, Sequence

from benchmarks.contest import Found, ratios, spread
from benchmarks.task import Task
from transformer_jax import config as config_lib


def record_of(task: Task, found: Sequence[Found], rounds: int) -> dict:
    """JSON-ready: sizes, machine, versions, and of each contestant every second."""
    ours = next(own for own in found if own.ours)
    return {
        "contest": task.kind,
        **_common(task, found),
        "rounds": rounds,
        "contestants": [_contestant(task, ours, own) for own in found],
    }


def compile_record_of(task: Task, depths: Mapping[int, Sequence[Sequence[Found]]]) -> dict:
    """JSON-ready: of each depth and contestant the seconds of every cold start."""
    rows = []
    for layers, starts in depths.items():
        ours = [next(own for own in start if own.ours) for start in starts]
        for owns in zip(*starts, strict=True):
            row = {"layers": layers, "name": owns[0].name}
            failed = next((own.failed for own in owns if own.failed), None)
            if failed is not None:
                rows.append(row | {"failed": failed})
                continue
            total = [sum(own.built["compiling"].values()) for own in owns]
            row |= {"seconds": spread(total), "parts": [own.built["compiling"] for own in owns]}
            if not owns[0].ours:
                mine = [sum(own.built["compiling"].values()) for own in ours]
                row["ratio"] = spread([b / a for a, b in zip(mine, total, strict=True)])
            rows.append(row)
    everyone = [own for starts in depths.values() for start in starts for own in start]
    return {"contest": "compile", **_common(task, everyone), "rows": rows}


def table(record: dict) -> str:
    """A section of Markdown."""
    task, decodes = record["sizes"], record["contest"] == "decode"
    work = (
        f"{record['rounds']} rounds of {task['new']} tokens, greedy, behind prompts of {task['prompt']}, which count in"
        if decodes
        else f"{record['rounds']} rounds of {task['updates']} updates"
    )
    # Losses tell that all train; they start from different initial values.
    columns = ["contestant", "parameters", "tokens/s", "ours / theirs", "compile", "peak memory"]
    columns += ["differences"] if decodes else ["loss, first to last round", "differences"]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for own in record["contestants"]:
        if "failed" in own:
            lines.append(_row([own["name"], own["failed"], *[""] * (len(columns) - 2)]))
            continue
        cells = [
            own["name"],
            f"{own['parameters']:,} ({own['parameters'] / record['contestants'][0]['parameters'] - 1:+.1%})",
            _spread(own["tokens_per_second"], ",.0f"),
            _spread(own["ratio"], ".2f") if "ratio" in own else "",
            f"{sum(own['compiling'].values()):.1f} s",
            _size(own["peak_bytes"] if own["device_peak_bytes"] is None else own["device_peak_bytes"]),
        ]
        cells += [] if decodes else [f"{own['loss']['first']:.2f} to {own['loss']['last']:.2f}"]
        lines.append(_row([*cells, "; ".join(own["differences"])]))
    words = f"{_head(record)} {work}. Medians (min to max); ratios round by round.{_disturbed(record)}"
    return f"{words}\n\n" + "\n".join(lines) + "\n"


def compile_table(record: dict) -> str:
    """A section of Markdown."""
    columns = ["layers", "contestant", "trace", "compile", "both", "of the least depth", "theirs / ours"]
    lines, first = [_row(columns), _row(["---"] * len(columns))], {}
    for row in record["rows"]:
        if "failed" in row:
            lines.append(_row([str(row["layers"]), row["name"], row["failed"], *[""] * 4]))
            continue
        parts = {
            part: spread([start[part] for start in row["parts"]]) if part in row["parts"][0] else None
            for part in ("trace", "compile")
        }
        least = first.setdefault(row["name"], row["seconds"]["median"])
        cells = [str(row["layers"]), row["name"]]
        cells += ["" if part is None else f"{part['median']:.1f} s" for part in parts.values()]
        cells += [_spread(row["seconds"], ".1f") + " s", f"{row['seconds']['median'] / least:.2f} x" if least else ""]
        lines.append(_row([*cells, _spread(row["ratio"], ".2f") if "ratio" in row else ""]))
    words = "Seconds to a train step from a cold start (torch: the first update less a later one); medians."
    return f"{_head(record)} {words}\n\n" + "\n".join(lines) + "\n"


def _common(task: Task, found: Sequence[Found]) -> dict:
    versions: dict[str, str] = {}
    for own in found:
        for package, number in own.report.get("versions", {}).items():
            seen = versions.get(package, number)
            versions[package] = seen if number in seen.split(" / ") else f"{seen} / {number}"
    m, o = task.model, task.optim
    return {
        "fingerprint": config_lib.fingerprint(task.config),
        "machine": next((own.report["machine"] for own in found if own.report.get("machine")), None),
        "versions": dict(sorted(versions.items())),
        "sizes": {
            **{key: m[key] for key in ("family", "layers", "width", "heads", "ffn_size", "dtype", "tied_embeddings")},
            "bias": m["bias"],
            "positions": task.positions,
            "vocabulary": task.vocab,
            "rows": task.rows,
            "length": task.length,
            "source_length": task.source_length,
            "updates": task.updates,
            "prompt": task.prompt,
            "new": task.new,
            "threads": task.threads,
        },
        "optim": {key: o[key] for key in ("learning_rate", "b1", "b2", "eps", "weight_decay", "clip")},
    }


def _contestant(task: Task, ours: Found, own: Found) -> dict:
    if own.failed is not None:
        return {"name": own.name, "failed": own.failed}
    found = {
        "name": own.name,
        "seconds": own.seconds,
        "others": own.others,
        "tokens_per_second": spread([task.tokens / seconds for seconds in own.seconds]),
        "compiling": own.built["compiling"],
        "first_seconds": own.built["first"]["seconds"],
        **{key: own.report[key] for key in ("parameters", "differences", "peak_bytes", "device_peak_bytes")},
    }
    if "loss" in own.last:
        found["loss"] = {"first": own.built["first"]["loss"], "last": own.last["loss"]}
    if not own.ours:
        each = ratios(ours, own)
        found["ratio"] = spread(each) | {"rounds": each}
    return found


def _head(record: dict) -> str:
    size, machine = record["sizes"], record["machine"]
    device = f"{machine['device_count']} x {machine['device_kind']} ({machine['platform']}), {size['threads']} cores"
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    length = f"{size['source_length']} + {size['length']}" if size["source_length"] else f"{size['length']}"
    rows = size["rows"] if record["contest"] == "decode" else f"{size['rows']} rows of {length}"
    layers = "" if record["contest"] == "compile" else f"{size['layers']} layers of "
    rows = f"{rows} rows" if record["contest"] == "decode" else rows
    return (
        f"### {record['contest']} {record['config']}, {record['date'][:10]}, {device}\n\n"
        f"`{record['command']}`\n\n"
        f"{versions}. {layers}{size['width']}, {size['heads']} heads, vocabulary {size['vocabulary']:,}, "
        f"{rows}, {size['dtype']}."
    )


def _disturbed(record: dict) -> str:
    """A warning, if other processes took a tenth of a core or more in some turn of a tenth of a second at least."""
    turns = [
        others
        for own in record["contestants"]
        for seconds, others in zip(own.get("seconds", []), own.get("others", []), strict=True)
        if others is not None and seconds >= 0.1
    ]
    many = sum(others >= 0.1 for others in turns)
    if not many:
        return ""
    return (
        f" **Other processes kept up to {max(turns):.1f} cores busy in {many} of {len(turns)} turns: measure again.**"
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _spread(values: Mapping[str, float], form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}} to {values['max']:{form}})"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"

"""`make faults`: every fault x what happened, by real processes and real signals; writes docs/faults.md.

python -m tests.faults.run --workdir=runs/faults                    # what is not done yet
python -m tests.faults.run --workdir=runs/faults --only=kill,corrupt # these, once more
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from tests.faults.base import FAULTS, ROOT, Bench, Row, timed
from transformer_jax.files import write_json
from transformer_jax.registry import import_all

_HEAD = """# Faults

`make faults` (`python -m tests.faults.run`) does this to runs of seconds, in processes of their own, started as a user
starts them, with real signals and real full disks, and writes this page. *The same end* is that of an undisturbed run
of the config, bit for bit: parameters, moments, the data's place, counters, every row of metrics.jsonl and the metrics
of result.json.

- **Checkpoints.** A step is written under another name, hashed (sha256 of every file), and renamed when its manifest
  is on the disk. It is hashed again before anything is read from it. What does not verify is renamed `N.corrupt`, never
  deleted, and the run goes on from the newest step that does; nothing guards against what changes on the disk between
  the hash and the read.
- **Resume.** A run directory belongs to one config, one content of its data, one size of its tokenizer, and one mesh
  (`replica` aside; the number of processes does not matter). Anything else is refused, with what differs, before
  anything compiles. `train --allow_changes` goes on: config.json becomes the new one, and manifest.json lists under
  `changes` the step, what changed and the result that the run had, if any. Batches go on at the same number. What the
  checkpoint does not fit (other arrays, another size of the vocabulary) is refused even so.
- **Spikes.** `train.spikes` is `keep`, `skip(above=4)` or `rewind(above=4)`: a spike is a norm of the gradient
  (`of='loss'`: a loss) of more than `above` times its average over the last `over=50` accepted updates. `skip` leaves
  the update out inside of the compiled step; parameters, moments and the place on the schedule are those of a run that
  never saw the batch, while the count of updates tried goes on, which random keys of dropout follow from. `rewind`
  looks when the run logs, evaluates or is due a checkpoint, goes back to the last checkpoint, none of which is ever
  made behind a spike, and leaves out the batches in between. `most` of them end the run as diverged.
- **Data.** Broken lines of jsonl and tsv files (half a record, NUL bytes, not UTF-8, over 16 MiB) are left out, counted
  and named, `max_bad=10` of them at most; a text has no records, so it is refused with the line.

| fault | times | what happened | |
|---|---|---|---|
"""


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if something was lost, or something untrue said."""
    import_all("tests.faults")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"))
    parser.add_argument("--only", default="", help=f"some of {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few tries of each")
    parser.add_argument("--write", type=Path, default=ROOT / "docs/faults.md", help="the page")
    args = parser.parse_args(argv)
    names = [name for name in args.only.split(",") if name]
    unknown = set(names) - FAULTS.keys()
    if unknown:
        parser.error(f"--only={args.only}: have {', '.join(FAULTS)}")
    bench = Bench(args.workdir.absolute(), args.seed, args.quick)
    kept = bench.directory / "rows"
    kept.mkdir(parents=True, exist_ok=True)
    for name in names or [name for name in FAULTS if not (kept / f"{name}.json").is_file()]:
        began = time.monotonic()
        rows = []
        for row in timed(FAULTS[name](bench)):
            row = dataclasses.replace(row, outcome=row.outcome.replace(str(bench.directory), "DIR"))
            rows.append(row)
            print(f"{'ok' if row.good else 'NOT GOOD'}  {row.fault} x {row.times}: {row.outcome}", flush=True)
        write_json(kept / f"{name}.json", [dataclasses.asdict(row) for row in rows])
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    found = {n: json.loads((kept / f"{n}.json").read_text()) for n in FAULTS if (kept / f"{n}.json").is_file()}
    rows = [Row(**each) for name in found for each in found[name]]
    if not args.quick:
        args.write.write_text(page(rows))
    return 0 if all(row.good for row in rows) else 1


def page(rows: list[Row]) -> str:
    """The table, as Markdown."""
    cells = [(row.fault, str(row.times), row.outcome, "good" if row.good else "**bad**") for row in rows]
    lines = [f"| {' | '.join(map(_cell, each))} |" for each in cells]
    minutes = sum(row.seconds for row in rows) / 60
    return _HEAD + "\n".join(lines) + f"\n\n{len(rows)} faults, {minutes:.0f} minutes.\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())

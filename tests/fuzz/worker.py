"""Checks the cases that it reads from stdin, one JSON object a line, and answers on a pipe, so that what libraries
print does not come between; run by `run.py` in a process of its own, which a crash of XLA may end."""

import gc
import json
import os
import resource
import sys
import time
import traceback

import jax

from tests.fuzz.checks import Broken, check

_MEMORY = 24 * 2**30  # of addresses, so that a huge array is an error here and no end of the machine
_LINES = 6


def main(answers: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with os.fdopen(answers, "w") as out:
        for number, line in enumerate(sys.stdin):
            print(json.dumps(_answer(json.loads(line))), file=out, flush=True)
            if number % 20 == 19:  # compiled programs hold memory maps, of which there are only so many
                jax.clear_caches()
                gc.collect()


def _answer(case: dict) -> dict:
    started = time.process_time()
    try:
        outcome, details = check(case, steps=not case.get("counted"))
    except Broken as error:
        outcome, details = "BROKEN", str(error)
    except BaseException as error:
        lines = traceback.format_exc().strip().splitlines()
        outcome, details = f"CRASHED {type(error).__name__}", "\n".join(lines[-4 * _LINES :])
    return {"outcome": outcome, "details": details[-4000:], "seconds": time.process_time() - started}


if __name__ == "__main__":
    main(int(sys.argv[1]))

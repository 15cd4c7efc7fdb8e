"""`Watch`: looks for spikes among the updates of one run, outside of the compiled step, and remembers the rewinds."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from transformer_jax.train.spikes import Running, spikes
from transformer_jax.train.step import StepMetrics


class Watch:
    """What `train.spikes=rewind` knows of a run. Its state goes into checkpoints.

    Whether an update is a spike depends on the updates before it alone, and when one is noticed on the step alone: a
    run that was killed comes to the same rewinds again.

    Attributes:
      done: the rewinds so far, a dict each: the update that was the `spike` with its `value` and the `average` before
        it, the step where it was `noticed`, the step that the run went `back_to`, and how many batches were `skipped`.
    """

    def __init__(self, judge):
        self._judge = judge
        self._running, self._seen = Running(0.0, 0, 0), 0
        self.done: list[dict] = []

    @classmethod
    def of(cls, config: ConfigDict) -> "Watch | None":
        """None if the config does not ask for one."""
        judge = spikes.build(config.train.spikes)
        return cls(judge) if judge.goes_back else None

    def look(self, fetched: Sequence[StepMetrics], step: int) -> dict | None:
        """The first spike among updates that were not looked at yet; None if there is none.

        Args:
          fetched: of the last updates up to `step`, numpy. Some may have been looked at.
        """
        first = step - sum(len(each.applied) for each in fetched) + 1
        for each in fetched:
            for number, value in enumerate(self._values(each), start=first):
                if number > self._seen and value is not None:
                    if self._judge.judge(value, self._running):
                        return {"spike": number, "value": value, "average": self._running.mean, "noticed": step}
                    self._running = self._judge.accept(value, self._running)
                self._seen = max(self._seen, number)
            first += len(each.applied)
        return None

    def went_back(self, done: list[dict], spike: dict, step: int) -> dict:
        """Takes note of a rewind, the state at `step` being restored, `done` being those before; returns the record."""
        told = spike | {"back_to": step, "skipped": spike["noticed"] - step}
        self.done = [*done, told]
        return told

    def state(self) -> dict:
        return {"mean": self._running.mean, "count": self._running.count, "seen": self._seen, "done": self.done}

    def resume(self, state: dict, step: int) -> None:
        """As `state()` was at `step`; {} of a run that had no watch then."""
        self._running = Running(state.get("mean", 0.0), state.get("count", 0), 0)
        self._seen, self.done = state.get("seen", step), list(state.get("done", []))

    def _values(self, fetched: StepMetrics) -> list[float | None]:
        """What is judged of each update; None for one that was not applied."""
        loss, norm = fetched.loss, fetched.grad_norm
        values = np.broadcast_to(self._judge.measured(loss.nats, loss.tokens, norm), np.shape(fetched.applied))
        return [float(v) if applied else None for v, applied in zip(values, fetched.applied, strict=True)]


def given_up(config: ConfigDict, skipped: float, spiked: float, rewinds: int) -> str:
    """Why a run that has lost so many updates is given up; empty if it is not."""
    most = getattr(spikes.build(config.train.spikes), "most", 0)
    if skipped > config.train.max_skipped:
        return f"{skipped:.0f} updates were not finite and left out (train.max_skipped={config.train.max_skipped})"
    if spiked > most:
        return f"{spiked:.0f} updates were spikes and left out (train.spikes={config.train.spikes!r}, most={most})"
    if rewinds > most:
        return f"it went back from {rewinds} spikes (train.spikes={config.train.spikes!r}, most={most})"
    return ""


def rewind_line(told: dict) -> str:
    """A rewind in words."""
    return (
        f"spike at step {told['spike']}: {told['value']:.4g} against {told['average']:.4g} on average; back to step "
        f"{told['back_to']}, {told['skipped']} batches are skipped"
    )

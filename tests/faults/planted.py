"""Bad batches in the stream of training batches."""

import numpy as np

_NEVER = 250  # a byte that no target is


class Planted:
    """A training iterator of which some batches, counted from 1, have nothing but targets that are never right."""

    def __init__(self, inner, bad):
        self._inner, self._bad, self._next = inner, frozenset(bad), 1

    def __next__(self):
        batch = next(self._inner)
        if self._next in self._bad:
            batch = batch.replace(targets_BL=np.full_like(batch.targets_BL, _NEVER))
        self._next += 1
        return batch

    def get_state(self):
        return {"inner": self._inner.get_state(), "next": self._next}

    def set_state(self, state):
        self._inner.set_state(state["inner"])
        self._next = state["next"]

    def close(self):
        self._inner.close()


class WithoutThem(Planted):
    """The same stream with the batches left out."""

    def __next__(self):
        while self._next in self._bad:
            next(self._inner)
            self._next += 1
        return super().__next__()

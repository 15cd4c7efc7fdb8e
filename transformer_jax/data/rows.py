"""`Encoded`, the tokens of a split, and `Rows`, the same laid out for a model."""

from dataclasses import dataclass

import numpy as np

from transformer_jax.batch import Batch
from transformer_jax.data.tokenizers.base import Encoding

_NAMES = {
    "tokens": "tokens_BL",
    "targets": "targets_BL",
    "weights": "weights_BL",
    "positions": "positions_BL",
    "segments": "segments_BL",
    "bytes": "bytes_BL",
    "source": "source_BM",
    "source_positions": "source_positions_BM",
    "source_segments": "source_segments_BM",
}


@dataclass(frozen=True)
class Encoded:
    """Texts one behind the other. E texts, T tokens in all.

    Attributes:
      ids_T, bytes_T: token ids and the bytes that each stands for.
      sizes_E: tokens of each text.
    """

    ids_T: np.ndarray
    bytes_T: np.ndarray
    sizes_E: np.ndarray

    @classmethod
    def of(cls, encodings: list[Encoding]) -> "Encoded":
        empty = np.zeros(0, np.int32)
        return cls(
            np.concatenate([ids for ids, _ in encodings] or [empty]),
            np.concatenate([n_bytes for _, n_bytes in encodings] or [empty]),
            np.asarray([len(ids) for ids, _ in encodings], np.int64),
        )

    def keep(self, mask_E: np.ndarray) -> "Encoded":
        """Only the texts where `mask_E` is true."""
        mask_T = np.repeat(mask_E, self.sizes_E)
        return Encoded(self.ids_T[mask_T], self.bytes_T[mask_T], self.sizes_E[mask_E])


@dataclass(frozen=True)
class Rows:
    """All rows of one split, in memory, in the smallest integer types.

    Attributes:
      fields: arrays (rows, L) or (rows, M) by the names of `Batch` without their shape.
      dropped: examples that were too long for a row.
    """

    fields: dict[str, np.ndarray]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.fields["tokens"])

    @property
    def positions(self) -> int:
        """How many positions the longest piece of either side takes."""
        sides = [self.fields[name] for name in ("positions", "source_positions") if name in self.fields]
        return 1 + max(int(positions.max()) for positions in sides)

    def take(self, index_B: np.ndarray) -> dict[str, np.ndarray]:
        """The rows `index_B` as the arrays of a `Batch`, by name; a row with index -1 is all padding."""
        index_B = np.asarray(index_B)
        arrays = {}
        for name, rows in self.fields.items():
            batch = rows[index_B].astype(np.float32 if name == "weights" else np.int32)
            batch[index_B < 0] = 0
            arrays[_NAMES[name]] = batch
        return arrays

    def batch(self, index_B: np.ndarray) -> Batch:
        """`take` as a `Batch`."""
        return Batch(**self.take(index_B))

    def report(self) -> dict[str, object]:
        """Counts: rows, targets in the loss and their bytes, share of positions in use, dropped examples."""
        weights = self.fields["weights"]
        fill = {"fill": float((self.fields["segments"] > 0).mean())}
        if "source_segments" in self.fields:
            fill["source_fill"] = float((self.fields["source_segments"] > 0).mean())
        return {
            "rows": len(self),
            "targets": int(weights.sum(dtype=np.int64)),
            "target_bytes": int((self.fields["bytes"].astype(np.int64) * weights).sum()),
            **fill,
            "dropped": self.dropped,
        }

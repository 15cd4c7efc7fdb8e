"""Which rows of a global batch a process loads: those that its devices need, no others."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer_jax.parallel import rules


@dataclass(frozen=True)
class Share:
    """This process's rows of a global batch of `size` rows.

    Attributes:
      index_R: their numbers, ascending. Where the mesh splits heads or the length over processes, several need the
        same rows.
      owned_R: which of them are counted here: each row of the batch has one owner.
    """

    size: int
    index_R: np.ndarray
    owned_R: np.ndarray

    def slice(self, rows: slice) -> slice | np.ndarray:
        """Where the rows `rows` of the global batch are among this process's."""
        return np.searchsorted(self.index_R, np.arange(self.size)[rows])


def share_of(mesh: Mesh, size: int) -> Share | None:
    """This process's share of batches of `size` rows; None if it loads all of them, being the only one."""
    sharding = NamedSharding(mesh, PartitionSpec(rules.BATCH[0]))
    if sharding.is_fully_addressable:
        return None
    owner_B = np.full(size, np.iinfo(np.int32).max)
    mine_B = np.zeros(size, bool)
    for device, (rows,) in sharding.devices_indices_map((size,)).items():
        owner_B[rows] = np.minimum(owner_B[rows], device.process_index)
        mine_B[rows] |= device.process_index == jax.process_index()
    index_R = np.flatnonzero(mine_B)
    return Share(size, index_R, owner_B[index_R] == jax.process_index())

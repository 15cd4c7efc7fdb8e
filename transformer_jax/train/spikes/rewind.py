"""Back to the last good checkpoint, and on with other batches."""

from dataclasses import dataclass

from transformer_jax.train.spikes.base import Judge, spikes


@spikes.register("rewind")
@dataclass(frozen=True)
class Rewind(Judge):
    """From θ_s of the last checkpoint before a spike, on past its batches (Chowdhery et al. 2022, 2204.02311 §5.1).

    Decided when the run logs, evaluates or is due a checkpoint, from all updates since. The state goes back to the
    checkpoint; the data do not, so that what lies between it and the place where the spike was noticed is skipped. A
    run with more than `most` rewinds has diverged.
    """

    most: int = 5

    goes_back = True

"""The update of a spike is left out."""

from dataclasses import dataclass

from transformer_jax.train.spikes.base import Judge, spikes


@spikes.register("skip")
@dataclass(frozen=True)
class Skip(Judge):
    """θ' = θ where ‖g‖ > above · mean ‖g‖ (PaLM skips the batches of spikes; Chowdhery et al. 2022, 2204.02311 §5.1).

    Decided inside of the compiled step. Parameters, moments, their count, and so the place on the schedule, are those
    of a run that never saw the batch; only the counters of updates tried, which random keys of dropout follow from,
    and of spikes differ. A run with more than `most` skipped spikes has diverged.
    """

    in_step = True

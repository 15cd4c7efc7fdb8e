"""Cross-entropy against NumPy, term by term."""

import jax.numpy as jnp
import numpy as np
import pytest
from models import small_batch

from transformer_jax.objective import cross_entropy, exact_matches


@pytest.mark.parametrize("smoothing, z", [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.2, 1e-3)])
def test_terms(smoothing, z):
    rng = np.random.default_rng(0)
    batch = small_batch("decoder_only")
    weights = rng.integers(0, 2, batch.targets_BL.shape).astype(np.float32)
    batch = batch.replace(weights_BL=weights, bytes_BL=rng.integers(1, 5, weights.shape).astype(np.int32))
    logits = rng.standard_normal((*batch.targets_BL.shape, 60)).astype(np.float32)
    batch = type(batch)(**{k: None if v is None else jnp.asarray(v) for k, v in vars(batch).items()})
    loss = cross_entropy(jnp.asarray(logits), batch, label_smoothing=smoothing, z_loss=z)
    log_z = np.log(np.exp(logits.astype(np.float64)).sum(-1))
    log_p = logits - log_z[..., None]
    target = np.take_along_axis(log_p, np.asarray(batch.targets_BL)[..., None], -1)[..., 0]
    expected = -((1 - smoothing) * target + smoothing * log_p.mean(-1)) + z * log_z**2
    assert float(loss.total) == pytest.approx((weights * expected).sum(), rel=1e-5)
    assert float(loss.nats) == pytest.approx(-(weights * target).sum(), rel=1e-5)
    assert float(loss.tokens) == weights.sum()
    assert float(loss.bytes) == (weights * np.asarray(batch.bytes_BL)).sum()
    assert float(loss.correct) == (weights * (logits.argmax(-1) == np.asarray(batch.targets_BL))).sum()


def test_exact_matches_are_counted_per_segment():
    """One miss spoils its own example only; targets without weight and segments without any count nowhere."""
    segments = np.asarray([[1, 1, 1, 2, 2, 3, 3, 0], [1, 1, 2, 2, 2, 2, 0, 0], [0] * 8], np.int32)
    weights = np.asarray([[0, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 2, 1, 1, 0, 0], [0] * 8], np.float32)
    targets = np.random.default_rng(0).integers(0, 9, segments.shape).astype(np.int32)
    batch = small_batch("decoder_only", rows=3, length=8)
    batch = batch.replace(targets_BL=targets, weights_BL=weights, segments_BL=segments)

    def count(*misses):
        predicted = targets.copy()
        for row, column in misses:
            predicted[row, column] = (predicted[row, column] + 1) % 9
        return tuple(map(int, exact_matches(jnp.asarray(predicted == targets), batch)))

    assert count() == (4, 4)
    assert count((0, 2), (0, 1)) == count((0, 4)) == (3, 4)
    assert count((0, 0), (0, 5), (1, 2), (1, 7), (2, 3)) == (4, 4)
    assert count((0, 2), (0, 3), (1, 0), (1, 3)) == (0, 4)


def test_training_counts_no_examples():
    batch = small_batch("decoder_only")
    loss = cross_entropy(jnp.zeros((*batch.targets_BL.shape, 60)), batch)
    assert loss.exact is None and loss.examples is None

"""Learning rates at the updates where a formula can be checked by hand."""

import math

import numpy as np
import pytest

from transformer_jax.train.schedule import schedules


def rates(spec, steps=100, warmup=10, peak=2.0):
    return np.array([schedules.build(spec, peak=peak, warmup=warmup, steps=steps)(s) for s in range(steps)])


@pytest.mark.parametrize("spec", ["constant", "cosine", "cosine(floor=0.1)", "rsqrt", "wsd", "wsd(decay=0.5)"])
def test_warm_up_is_linear_to_the_peak_and_never_passes_it(spec):
    lr = rates(spec)
    np.testing.assert_allclose(lr[:10], 2.0 * np.arange(1, 11) / 10, rtol=1e-6)
    assert lr.max() == pytest.approx(2.0) and (lr > 0).all()


def test_cosine():
    lr = rates("cosine(floor=0.1)")
    assert lr[55] == pytest.approx(2 * (0.1 + 0.9 / 2), rel=1e-5)
    assert lr[32] == pytest.approx(2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 22 / 90))), rel=1e-5)


def test_rsqrt():
    assert rates("rsqrt")[39] == pytest.approx(2 * math.sqrt(10 / 40), rel=1e-5)


def test_wsd():
    lr = rates("wsd(decay=0.2, floor=0.5)")
    np.testing.assert_allclose(lr[10:81], 2.0)
    assert lr[90] == pytest.approx(2 * 0.75, rel=1e-5)

"""Masks, rankings and pruning of heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import FAMILIES, VOCAB, L, init, small_arch, small_batch, small_config

from transformer_jax.errors import UserError
from transformer_jax.inspect.heads import importance, leave_one_out, losses, removal_curve
from transformer_jax.inspect.prune import prune
from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.model.heads import Head, heads_in, parse_mask, present, without
from transformer_jax.objective import cross_entropy
from transformer_jax.validate import problems


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def batches(family, rows=3):
    return [on_device(small_batch(family, rows=rows, seed=seed)) for seed in range(2)]


def test_present_knows_layers_without_heads_and_pruned_heads():
    arch = small_arch(mixer="mha(kept=(0, 2)), lstm", position="none")
    assert heads_in(present(arch)) == [Head("decoder", "attention", 0, h) for h in (0, 2)]


def test_an_unknown_head_is_refused():
    everything = present(small_arch())
    with pytest.raises(UserError, match=r"no head decoder\.attention 2\.0: give one of decoder\.attention 0\.0"):
        without(everything, [Head("decoder", "attention", 2, 0)])


def test_masks_are_read_from_a_config_key():
    arch = small_arch(family="encoder_decoder")
    assert parse_mask("", arch) is None
    assert len(heads_in(parse_mask("all", arch))) == 2 * 4 * 3
    left = heads_in(parse_mask("decoder.cross 1.3, encoder.attention 0.0", arch))
    assert len(left) == 22 and not {Head("decoder", "cross", 1, 3), Head("encoder", "attention", 0, 0)} & set(left)
    for bad in ("decoder.attention", "decoder 0.1", "decoder.attention 0.x"):
        with pytest.raises(UserError, match=r"decoder\.attention 0\.3"):
            parse_mask(bad, arch)
    assert problems(small_config(head_mask="decoder.attention 0.9"))[0].startswith("model.head_mask: there is no head")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_removes_exactly_what_the_head_writes(family):
    """Masking a head equals zeroing its rows of the output matrix."""
    model, params = init(small_arch(family=family))
    batch = on_device(small_batch(family))
    head = Head("decoder", "attention", 1, 2)
    masked = model.apply({"params": params}, batch, heads=without(present(model.arch), [head]))
    out = params["decoder"]["layers"]["attention"]["out"]
    params["decoder"]["layers"]["attention"]["out"] = out.at[1, 2].set(0.0)
    zeroed = model.apply({"params": params}, batch)
    np.testing.assert_array_equal(masked, zeroed)


@pytest.mark.parametrize("family", ["decoder_only", pytest.param("encoder_decoder", marks=pytest.mark.slow)])
def test_rankings_equal_their_definitions(family):
    model, params = init(small_arch(family=family))
    everything, rows = present(model.arch), batches(family)

    def loss(mask, batch):
        sums = cross_entropy(model.apply({"params": params}, batch, heads=mask), batch)
        return sums.nats / sums.tokens

    singly = leave_one_out(model, params, rows)
    by_hand = losses(model, params, rows, [everything])[0]
    assert by_hand == pytest.approx(np.mean([loss(everything, batch) for batch in rows]), rel=1e-5)
    head = Head("decoder", "attention", 0, 3)
    less = without(everything, [head])
    assert singly[head] == pytest.approx(np.mean([loss(less, b) for b in rows]) - by_hand, abs=2e-5)

    # One row at a time, its gradient by finite differences.
    found, step, total = importance(model, params, rows, normalise=False), 1e-2, 0.0
    for batch in rows:
        for row in range(3):
            one = jax.tree.map(lambda x, row=row: x[row : row + 1], batch)
            ends = []
            for sign in (1, -1):
                mask = jax.tree.map(np.copy, everything)
                mask["decoder"]["attention"][0, 3] += sign * step
                ends.append(float(loss(mask, one)))
            total += abs(ends[0] - ends[1]) / (2 * step)
    # float32 losses of 5 differ by 1e-3 here: three digits.
    assert found[head] == pytest.approx(total / 6, rel=2e-2, abs=1e-4)
    normalised = importance(model, params, rows)
    norms = [normalised[Head("decoder", "attention", 0, h)] ** 2 for h in range(4)]
    assert sum(norms) == pytest.approx(1.0, rel=1e-5)


def test_all_masks_share_one_program():
    model, params = init(small_arch())
    rows = batches("decoder_only")
    order = heads_in(present(model.arch))
    traced = []

    class Counted(type(model)):
        def __call__(self, *args, **kwargs):
            traced.append(1)
            return super().__call__(*args, **kwargs)

    counted = Counted(arch=model.arch)
    curve = removal_curve(counted, params, rows, order)
    once = len(traced)
    assert np.isfinite(curve).all() and len(curve) == len(order) + 1
    removal_curve(counted, params, rows, order[::-1])
    assert len(traced) == once


@pytest.mark.parametrize("family", ["decoder_only", pytest.param("encoder_decoder", marks=pytest.mark.slow)])
@pytest.mark.parametrize("position", ["rope", "t5", "transformer_xl"])
def test_a_pruned_model_computes_what_the_masked_one_did(family, position):
    config = small_config(family=family, position=position, mixer="mha(kv_heads=None)")
    model, params = init(Arch.from_config(config, vocab=VOCAB, platform="cpu"))
    batch = on_device(small_batch(family))
    heads = heads_in(present(model.arch))
    for removed in ([heads[1], heads[4], heads[5]], heads[:4]):  # uneven layers; a layer without heads
        masks = without(present(model.arch), removed)
        small_config_, small_params = prune(config, params, masks, vocab=VOCAB)
        small = families.build(family, arch=Arch.from_config(small_config_, vocab=VOCAB, platform="cpu"))
        masked = model.apply({"params": params}, batch, heads=masks)
        pruned = small.apply({"params": small_params}, batch)
        np.testing.assert_allclose(pruned, masked, atol=1e-5)  # the same sums in another order, on logits of 5
        size = config.model.width * config.model.width // config.model.heads
        fewer = sum(map(jnp.size, jax.tree.leaves(params))) - sum(map(jnp.size, jax.tree.leaves(small_params)))
        assert fewer >= 4 * size * len(removed)

    again = heads_in(present(small.arch))[:1]
    twice = without(present(small.arch), again)
    _, smaller_params = prune(small_config_, small_params, twice, vocab=VOCAB)
    assert sum(map(jnp.size, jax.tree.leaves(smaller_params))) < sum(map(jnp.size, jax.tree.leaves(small_params)))


def test_heads_that_share_keys_are_not_pruned():
    config = small_config(mixer="mha(kv_heads=2)")
    model, params = init(Arch.from_config(config, vocab=VOCAB, platform="cpu"))
    masks = without(present(model.arch), heads_in(present(model.arch))[:1])
    with pytest.raises(UserError, match="kept"):
        prune(config, params, masks, vocab=VOCAB)


def test_mixers_without_heads_stay_and_biases_are_not_lost():
    config = small_config(mixer="lstm, mha", position="none")
    model, params = init(Arch.from_config(config, vocab=VOCAB, platform="cpu"))
    masks = without(present(model.arch), heads_in(present(model.arch))[:1])
    pruned, small = prune(config, params, masks, vocab=VOCAB)
    assert pruned.model.mixer == "lstm, mha(kept=(1, 2, 3))"
    assert set(small["decoder"]["layers"]["slot0"]["attention"]) == {"input", "hidden", "bias", "out"}
    config = small_config(bias=True)
    model, params = init(Arch.from_config(config, vocab=VOCAB, platform="cpu"))
    masks = without(present(model.arch), heads_in(present(model.arch))[:4])
    with pytest.raises(UserError, match="output bias would be lost"):
        prune(config, params, masks, vocab=VOCAB)


def test_mixed_layers_are_one_model_in_any_grouping():
    """A pattern written twice over is the same model: `(a, b)*2` in 4 layers is `a, b`."""
    short, long = (small_arch(layers=4, mixer=m) for m in ("mha(window=3), mha", "(mha(window=3), mha)*2"))
    (first, params), second = init(short), families.build("decoder_only", arch=long)
    batch = on_device(small_batch("decoder_only", length=L))
    np.testing.assert_array_equal(first.apply({"params": params}, batch), second.apply({"params": params}, batch))

"""What counting reaches: unigram and bigram losses on the same targets that a model is held to."""

import math

import numpy as np

from transformer_jax.data import Data


def ngram_losses(data: Data, split: str) -> dict[str, dict[str, float]]:
    """`unigram` and `bigram` -> `loss` (nats per target) and `bits_per_byte`, of the targets with weight in a split.

    Counted on the train split. The unigram adds one to every count (Laplace). The bigram sees the token
    before, and mixes with the unigram by Witten and Bell (1991): weight c / (c + t) on the bigram, where the
    token before was seen c times with t different successors.
    """
    before_T, after_T, _ = _pairs(data, "train")
    V = data.vocab_size
    unigram_V = np.bincount(after_T, minlength=V) + 1.0
    unigram_V /= unigram_V.sum()
    seen_P, count_P = np.unique(before_T * np.int64(V) + after_T, return_counts=True)
    total_V = np.bincount(before_T, minlength=V).astype(np.float64)
    types_V = np.bincount(seen_P // V, minlength=V).astype(np.float64)

    before_T, after_T, n_bytes = _pairs(data, split)
    key_T = before_T * np.int64(V) + after_T
    at_T = np.minimum(np.searchsorted(seen_P, key_T), len(seen_P) - 1)
    count_T = np.where(seen_P[at_T] == key_T, count_P[at_T], 0)
    p_unigram_T = unigram_V[after_T]
    mixed_T = count_T + types_V[before_T] * p_unigram_T
    known_T = total_V[before_T] + types_V[before_T]
    p_bigram_T = np.where(known_T > 0, mixed_T / np.maximum(known_T, 1.0), p_unigram_T)
    return {"unigram": _summary(p_unigram_T, n_bytes), "bigram": _summary(p_bigram_T, n_bytes)}


def _pairs(data: Data, split: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Each target with weight and the token before it, and how many bytes the targets stand for."""
    fields = data.rows(split).fields
    counted = fields["weights"] > 0
    n_bytes = int(fields["bytes"][counted].sum(dtype=np.int64))
    return fields["tokens"][counted].astype(np.int64), fields["targets"][counted].astype(np.int64), n_bytes


def _summary(p_T: np.ndarray, n_bytes: int) -> dict[str, float]:
    nats = -np.log(p_T).sum()
    return {"loss": float(nats / len(p_T)), "bits_per_byte": float(nats / math.log(2) / n_bytes)}

"""Random corruption of text, as pure functions on flat arrays: which tokens are hidden, and what stands for them.

A piece (P) is a text that is corrupted by itself; the T tokens of all pieces lie one behind the other. Everything
random follows from keys that belong to a row, so that a row does not depend on the batch that it is in.
"""

import numpy as np

from transformer_jax.data.rows import Encoded
from transformer_jax.shapes import Bool, Float, Int, checked


def draws(keys_B2: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1) for each row of a batch, (B, *shape), by Philox (Salmon et al. 2011) under the row's key."""
    keys_B2 = np.asarray(keys_B2).astype(np.uint64)
    return np.stack([np.random.Generator(np.random.Philox(key=key_2)).random(shape) for key_2 in keys_B2])


def counted(array_P) -> np.ndarray:
    """0, 1, …, n - 1 for each n, one behind the other."""
    sizes_P = np.asarray(array_P)
    return np.arange(sizes_P.sum()) - np.repeat(np.cumsum(sizes_P) - sizes_P, sizes_P)


@checked
def span_counts(
    sizes_P: Int[np.ndarray, " P"], rate: float | Float[np.ndarray, " P"], length: float | Float[np.ndarray, " P"]
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """How many tokens of a piece are noise, and in how many spans (Raffel et al. 2020, sec. 3.1.4 and its code).

    round(size rate) tokens, of which at least one is noise and one is not, and round(noise / length) spans, at
    least one and so many that none is empty; halves are rounded to even.

    Args:
      rate: share of the tokens that is noise.
      length: of a span, on average; infinite for a single span.
    """
    noise_P = np.clip(np.round(sizes_P * rate), 1, sizes_P - 1).astype(np.int64)
    spans_P = np.clip(np.round(noise_P / length), 1, np.minimum(noise_P, sizes_P - noise_P)).astype(np.int64)
    return noise_P, spans_P


@checked
def cut_evenly(
    sizes_P: Int[np.ndarray, " P"], parts_P: Int[np.ndarray, " P"], random_T: Float[np.ndarray, " T"]
) -> Int[np.ndarray, " S"]:
    """The sizes of `parts_P` parts of each piece, none empty, every division equally likely.

    Args:
      random_T: in [0, 1), one for each of the items of all pieces.
    """
    # The first item of a piece starts a part, and so do the parts - 1 others with the smallest numbers.
    within_T = counted(sizes_P)
    order_T = np.argsort(np.repeat(np.arange(len(sizes_P)), sizes_P) + np.where(within_T, random_T, 0), kind="stable")
    starts_T = np.zeros(len(within_T), bool)
    starts_T[order_T] = within_T < np.repeat(parts_P, sizes_P)
    return np.diff(np.flatnonzero(starts_T), append=len(within_T))


@checked
def span_noise(
    sizes_P: Int[np.ndarray, " P"],
    noise_P: Int[np.ndarray, " P"],
    spans_P: Int[np.ndarray, " P"],
    random_2T: Float[np.ndarray, "2 T"],
) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Which tokens are noise, and which of these start a span.

    As in T5, kept and hidden spans take turns, a kept one first, and every division is equally likely.
    """
    is_noise_T = counted(sizes_P) < np.repeat(noise_P, sizes_P)  # as many numbers as a piece has noise
    hidden_S = cut_evenly(noise_P, spans_P, random_2T[0][is_noise_T])
    kept_S = cut_evenly(sizes_P - noise_P, spans_P, random_2T[1][~is_noise_T])
    both_X = np.stack([kept_S, hidden_S], axis=1).ravel()
    noise_T = np.repeat(np.arange(len(both_X)) % 2 == 1, both_X)
    start_T = np.zeros(len(noise_T), bool)
    start_T[(np.cumsum(both_X) - both_X)[1::2]] = True
    return noise_T, start_T


def split_spans(
    texts: Encoded, noise_T: np.ndarray, start_T: np.ndarray, sentinels: tuple[int, ...]
) -> tuple[Encoded, Encoded]:
    """What is left of each text, a sentinel in place of each hidden span, and the spans, each behind its sentinel.

    The first span of a text has the first sentinel, the second the second one. Sentinels stand for no byte.
    """
    piece_T = np.repeat(np.arange(len(texts.sizes_E)), texts.sizes_E)
    spans_E = np.bincount(piece_T[start_T], minlength=len(texts.sizes_E))
    sentinel_S = np.asarray(sentinels, np.int32)[counted(spans_E)]

    ids_T, bytes_T = texts.ids_T.copy(), texts.bytes_T.copy()
    ids_T[start_T], bytes_T[start_T] = sentinel_S, 0
    kept_T = ~noise_T | start_T
    hidden_E = np.bincount(piece_T[noise_T], minlength=len(texts.sizes_E))
    left = Encoded(ids_T[kept_T], bytes_T[kept_T], texts.sizes_E - hidden_E + spans_E)

    copies_T = noise_T.astype(np.int64) + start_T  # a span's first token twice: the first copy becomes the sentinel
    index_U = np.repeat(np.arange(len(copies_T)), copies_T)
    ids_U, bytes_U = texts.ids_T[index_U], texts.bytes_T[index_U]
    sentinel_at_S = (np.cumsum(copies_T) - copies_T)[start_T]
    ids_U[sentinel_at_S], bytes_U[sentinel_at_S] = sentinel_S, 0
    return left, Encoded(ids_U, bytes_U, hidden_E + spans_E)


@checked
def choose(
    eligible_BL: Bool[np.ndarray, "B L"], rate: float, random_BL: Float[np.ndarray, "B L"]
) -> Bool[np.ndarray, "B L"]:
    """round(rate n) of the n eligible positions of each row, at least one, all choices equally likely."""
    n_B = eligible_BL.sum(axis=1)
    chosen_B = np.clip(np.round(n_B * rate), np.minimum(1, n_B), n_B)
    order_BL = np.argsort(np.where(eligible_BL, random_BL, 2.0), axis=1, kind="stable")
    chosen_BL = np.zeros(eligible_BL.shape, bool)
    np.put_along_axis(chosen_BL, order_BL, np.arange(eligible_BL.shape[1]) < chosen_B[:, None], axis=1)
    return chosen_BL

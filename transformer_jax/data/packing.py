"""Rows of a fixed length out of sequences of many lengths, as plain functions on flat arrays.

A piece (P) is what lies unbroken in one row: a document's part, or one side of an example. Grain packs a
stream of dicts one by one; here everything is in memory, so the layout is computed once, in NumPy, and a
row can be read at random.
"""

import numpy as np

from transformer_jax.shapes import Int, checked

OPEN_ROWS = 512  # rows that first fit looks at; the fullest is closed when another is needed


@checked
def first_fit(sizes_PC: Int[np.ndarray, "P C"], capacity_C: tuple[int, ...]) -> Int[np.ndarray, " P"]:
    """The row of each piece: the first open row with room in all C columns (source and target, say).

    Every size must fit the capacity. Rows are numbered in the order in which they are opened.
    """
    capacity = np.asarray(capacity_C)
    free_RC = np.zeros((OPEN_ROWS, len(capacity)), np.int64)
    row_R = np.zeros(OPEN_ROWS, np.int64)
    row_P = np.empty(len(sizes_PC), np.int64)
    opened = 0
    for piece, size_C in enumerate(sizes_PC):
        n = min(opened, OPEN_ROWS)
        fits_R = (free_RC[:n] >= size_C).all(axis=1)
        slot = int(fits_R.argmax()) if n else 0
        if not n or not fits_R[slot]:
            slot = n if n < OPEN_ROWS else int(free_RC.min(axis=1).argmin())
            free_RC[slot], row_R[slot] = capacity, opened
            opened += 1
        free_RC[slot] -= size_C
        row_P[piece] = row_R[slot]
    return row_P


@checked
def columns(row_P: Int[np.ndarray, " P"], sizes_P: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """Where each piece starts in its row, if the pieces of a row follow one another in order."""
    order_P = np.argsort(row_P, kind="stable")
    rows, sizes = row_P[order_P], sizes_P[order_P]
    before = np.cumsum(sizes) - sizes
    column_P = np.empty(len(row_P), np.int64)
    column_P[order_P] = before - before[np.searchsorted(rows, rows)]
    return column_P


@checked
def segment_numbers(row_P: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """1, 2, … along each row, in the order of the pieces."""
    return 1 + columns(row_P, np.ones_like(row_P))


def place(
    fields: dict[str, np.ndarray],
    starts_P: np.ndarray,
    sizes_P: np.ndarray,
    row_P: np.ndarray,
    column_P: np.ndarray,
    shape: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Lays pieces of flat arrays into rows.

    Args:
      fields: flat arrays by name, each of length T.
      starts_P, sizes_P: where each piece lies in the flat arrays.
      row_P, column_P: where its first element goes.
      shape: (rows, L) of the result.

    Returns:
      The fields as arrays of `shape`, 0 where nothing lies, and 'positions' (from 0 in each piece) and
      'segments' (from 1 in each row). Integer types are the smallest that hold the values.
    """
    within_T = np.arange(sizes_P.sum()) - np.repeat(np.cumsum(sizes_P) - sizes_P, sizes_P)
    source_T = np.repeat(starts_P, sizes_P) + within_T
    target_T = np.repeat(row_P * shape[1] + column_P, sizes_P) + within_T
    flat = {name: array[source_T] for name, array in fields.items()}
    flat["positions"] = within_T
    flat["segments"] = np.repeat(segment_numbers(row_P), sizes_P)
    placed = {}
    for name, array_T in flat.items():
        rows = np.zeros(shape[0] * shape[1], np.min_scalar_type(int(array_T.max(initial=0))))
        rows[target_T] = array_T
        placed[name] = rows.reshape(shape)
    return placed

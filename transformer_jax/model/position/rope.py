"""Rotary positions."""

from transformer_jax.model.position.base import Rotary, positions


@positions.register("rope")
class Rope(Rotary):
    """(R_m q)^T (R_n k) = q^T R_(n-m) k, R a rotation of pairs by p * theta^(-2i/K) (Su et al. 2021, eq. 14-16)."""

    cost = "a rotation of queries and keys in each layer"

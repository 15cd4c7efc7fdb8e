"""A run as a job of a cluster."""

from transformer_jax.launch.run import Machine, submit

__all__ = ["Machine", "submit"]

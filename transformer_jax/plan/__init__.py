"""What a run will need and do on a machine that is not here: counted, and compiled."""

from transformer_jax.plan.planning import plan
from transformer_jax.plan.result import MeshPlan, Plan

__all__ = ["MeshPlan", "Plan", "plan"]

"""The registry of families, which knows nothing of models, so that `Arch` can ask what a family is like."""

from transformer_jax.registry import Registry

families = Registry("family", "transformer_jax.model.family", base_fields=("arch", "headless"))

"""A JAX/Flax research codebase that says whether a change to the Transformer matters."""

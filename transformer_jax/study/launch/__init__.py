"""Where the units of a study are trained, one file per launcher."""

from transformer_jax.study.launch.base import Job, Launcher, launchers

__all__ = ["Job", "Launcher", "launchers"]

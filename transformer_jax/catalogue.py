"""The catalogue: every registered variant, described by its own class."""

import dataclasses

from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tokenizers.base import tokenizers
from transformer_jax.data.views.base import views
from transformer_jax.registry import Registry, format_spec
from transformer_jax.train.schedule import schedules
from transformer_jax.validate import MODEL_SPECS


def registries() -> dict[str, Registry]:
    """Config key -> the registry of its specs."""
    model = {f"model.{key}": registry for key, (registry, _) in MODEL_SPECS.items()}
    data = {"data.corpus": corpora, "data.tokenizer": tokenizers, "data.view": views}
    return model | data | {"optim.schedule": schedules}


def catalogue() -> dict[str, list[dict]]:
    """For each config key its variants: `name`, `spec` with default arguments, `line` (the docstring's first)."""
    axes = {}
    for key, registry in registries().items():
        axes[key] = []
        for name in registry.names():
            defaults = {option: _default(field) for option, field in registry.options(name).items()}
            line = (registry.lookup(name).__doc__ or "").strip().splitlines()
            axes[key].append({"name": name, "spec": format_spec(name, **defaults), "line": line[0] if line else ""})
    return axes


def _default(field: dataclasses.Field) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return ... if field.default_factory is dataclasses.MISSING else field.default_factory()

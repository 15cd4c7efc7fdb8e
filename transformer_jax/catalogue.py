"""The catalogue: every registered variant, described by its own class and counted on a reference model."""

import dataclasses
import re

from transformer_jax import config as configs
from transformer_jax.combinations import MODEL_SPECS
from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tokenizers.base import tokenizers
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError, nearest
from transformer_jax.model.arch import Arch
from transformer_jax.model.weighting import weightings
from transformer_jax.registry import Registry, format_spec
from transformer_jax.train.flops import count
from transformer_jax.train.schedule import schedules
from transformer_jax.train.step import boxed_params

WEIGHTS = "model.mixer, argument weights"

_PAPER = re.compile(r"\s*\(([^()]*(?:\([^()]*\)[^()]*)*\b(?:19|20)\d\d\b[^()]*)\)")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One variant.

    Attributes:
      name: as a spec says it; `spec`: with its default arguments.
      equation: in a line; `paper`: where it comes from.
      parameters: how many it adds to the reference model in place of the plain variant; None outside the model.
      cost: what it costs beside parameters, in a phrase.
      cached: whether decoding with a cache computes what the full forward pass does.
      crossing: whether it can read a memory; None where that is no question.
      any_length: whether it is defined past the training length; None where that is no question.
      unshardable: the mesh axes that it cannot be split over, with the reason of each.
    """

    name: str
    spec: str
    equation: str
    paper: str
    parameters: int | None = None
    cost: str = ""
    cached: bool | None = None
    crossing: bool | None = None
    any_length: bool | None = None
    unshardable: tuple[tuple[str, str], ...] = ()


def registries() -> dict[str, Registry]:
    """Where a spec is written -> the registry that reads it."""
    again = ("encoder_mixer", "embedding_norm")  # what can stand there is listed at another place
    model = {f"model.{key}": registry for key, registry in MODEL_SPECS.items() if key not in again}
    model[WEIGHTS] = weightings
    data = {"data.corpus": corpora, "data.tokenizer": tokenizers, "data.view": views}
    return model | data | {"optim.schedule": schedules}


def catalogue(axis: str | None = None) -> dict[str, list[Entry]]:
    """For each place of a spec its variants.

    Args:
      axis: one place only, such as 'position' or 'model.position'.

    Raises:
      UserError: for a place that there is not.
    """
    places = registries()
    if axis is not None:
        names = {key.rpartition(".")[2].rpartition(" ")[2]: key for key in places}
        key = names.get(axis, axis)
        if key not in places:
            raise UserError(f"no specs are written in {axis!r}{nearest(axis, names)}; have {', '.join(names)}")
        places = {key: places[key]}
    plain = {family: _parameters(family) for family in MODEL_SPECS["family"].names()}
    return {
        key: [_entry(key, registry, name, plain) for name in registry.names() if _fits(key, registry.lookup(name))]
        for key, registry in places.items()
    }


def _fits(key: str, cls: type) -> bool:
    return {"model.mixer": "self", "model.cross_mixer": "cross"}.get(key, "self") in getattr(cls, "places", {"self"})


def _entry(key: str, registry: Registry, name: str, plain: dict[str, int]) -> Entry:
    cls = registry.lookup(name)
    line = ((cls.__doc__ or "").strip().splitlines() or [""])[0]
    papers = _PAPER.findall(line)
    equation = _PAPER.sub("", line).strip().rstrip(".")
    entry = Entry(name, _spec(registry, name), equation, "; ".join(papers))
    if not key.startswith("model.") or key == "model.family":
        return entry
    family = "encoder_decoder" if key == "model.cross_mixer" else "decoder_only"
    where, value = ("model.mixer", f"mha(weights={name!r})") if key == WEIGHTS else (key, name)
    position = key == "model.position"
    return dataclasses.replace(
        entry,
        parameters=_parameters(family, **{where.removeprefix("model."): value}) - plain[family],
        cost=cls.cost,
        cached=cls.cached,
        crossing="cross" in cls.places if key == "model.mixer" else None,
        any_length=_has_no_limit(cls) if position else None,
        unshardable=tuple(sorted(cls.unshardable.items())),
    )


def _spec(registry: Registry, name: str) -> str:
    """The spec with defaults; options that a whole family of variants takes are written out at one of them only."""
    cls, options = registry.lookup(name), registry.options(name)
    shown_at = getattr(cls, "options_shown_at", name)
    shared = [] if shown_at == name else [option for option in options if option in registry.options(shown_at)]
    own = format_spec(name, **{option: _default(field) for option, field in options.items() if option not in shared})
    if not shared:
        return own
    return f"{own[:-1]}, …)" if own.endswith(")") else f"{own}(…)"


def _has_no_limit(cls) -> bool:
    return cls(arch=_reference("decoder_only"), causal=True).limit is None


def _reference(family: str, **model) -> Arch:
    """6 layers of width 512 with 8 heads and 2048 in the feed-forward, rows of 1024 tokens."""
    config = configs.base()
    for key, value in dict(family=family, layers=6, width=512, heads=8, **model).items():
        config.model[key] = value
    config.data.length = 1024
    return Arch.from_config(config, vocab=32000, platform="cpu")


def _parameters(family: str, **model) -> int:
    if "mixer" in model:  # recurrences read no positions; these have no parameters here anyway
        model["position"] = "none"
    return count(boxed_params(_reference(family, **model)))


def _default(field: dataclasses.Field) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return ... if field.default_factory is dataclasses.MISSING else field.default_factory()


def as_text(entries: dict[str, list[Entry]]) -> str:
    """For a terminal: a line per variant, what it is known for behind it."""
    lines = []
    for key, variants in entries.items():
        lines.append(f"\n{key}")
        width = max(len(entry.spec) for entry in variants)
        for entry in variants:
            lines.append(f"  {entry.spec:{width}}  {entry.equation}{f' ({entry.paper})' if entry.paper else ''}")
            facts = _facts(entry)
            if facts:
                lines.append(f"  {'':{width}}    {facts}")
    return "\n".join(lines).lstrip("\n")


def _facts(entry: Entry) -> str:
    if entry.parameters is None:
        return ""
    answers = {"cached decoding": entry.cached, "cross-attention": entry.crossing, "any length": entry.any_length}
    facts = [f"{entry.parameters:+,} parameters", *([entry.cost] if entry.cost else [])]
    facts += [f"{name}: {_yes(value)}" for name, value in answers.items() if value is not None]
    return "; ".join(facts + [f"not over mesh.{axis}: {reason}" for axis, reason in entry.unshardable])


def as_markdown(entries: dict[str, list[Entry]]) -> str:
    """docs/variants.md."""
    lines = [
        "# What can be switched",
        "",
        "Written by `python -m transformer_jax variants --write=docs/variants.md` from the classes themselves.",
        "A spec is a name with arguments, such as `rope(theta=500.0)`; the defaults are shown. *Parameters* are those",
        "that a variant adds, in place of the plain one, to a model of 6 layers of width 512 with 8 heads of 64, 2048",
        "in the feed-forward and rows of 1024 tokens. *Cached* says whether decoding with a cache equals the full",
        "forward pass, *cross* whether it can read an encoder's output, *any length* whether it is defined past the",
        "training length (not whether it is good there). Variants that cannot be split over an axis of the mesh stand",
        "below their table, with the reason; all others can, over every axis ([sharding.md](sharding.md)).",
        "`…` stands for the options that all attentions (see `mha`) or all rotations (see `rope`) take.",
        "`model.position`, `model.mixer`, `model.encoder_mixer` (as `model.mixer` unless it is given),",
        "`model.cross_mixer` and `model.ffn` may be patterns over layers, such as `'(mha(window=128))*3, mha'`.",
    ]
    for key, variants in entries.items():
        columns = ["spec", "equation", "source"]
        in_model = variants[0].parameters is not None
        extra = {"cached": "cached", "crossing": "cross", "any_length": "any length"}
        shown = [name for name in extra if getattr(variants[0], name) is not None]
        columns += (["parameters", "cost"] if in_model else []) + [extra[name] for name in shown]
        lines += ["", f"## {key}", "", f"{len(variants)} variants.", ""]
        lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        for entry in variants:
            cells = [f"`{entry.spec}`", entry.equation, entry.paper]
            cells += [f"{entry.parameters:+,}", entry.cost] if in_model else []
            cells += [_yes(getattr(entry, name)) for name in shown]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines += _refusals(variants)
    return "\n".join(lines) + "\n"


def _refusals(variants: list[Entry]) -> list[str]:
    """A line for each axis of the mesh and reason: which variants cannot be split over it."""
    names: dict[tuple[str, str], list[str]] = {}
    for entry in variants:
        for refusal in entry.unshardable:
            names.setdefault(refusal, []).append(f"`{entry.name}`")
    lines = [f"Not over `mesh.{axis}`: {', '.join(those)} ({reason})." for (axis, reason), those in names.items()]
    return ["", *lines] if lines else []


def _yes(value: bool) -> str:
    return "yes" if value else "no"

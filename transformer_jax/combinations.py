"""Which variants can stand together, and on which meshes: why a model section cannot be built as it is written."""

from collections.abc import Mapping

import jax

from transformer_jax.errors import UserError
from transformer_jax.model.adapter import adapters
from transformer_jax.model.arch import PATTERNED, Arch
from transformer_jax.model.embedding import embeddings
from transformer_jax.model.family import families
from transformer_jax.model.ffn import ffns
from transformer_jax.model.head import heads
from transformer_jax.model.heads import parse_mask
from transformer_jax.model.kernel import kernels
from transformer_jax.model.mixer import mixers
from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.norm import norms
from transformer_jax.model.position import Position, positions
from transformer_jax.model.residual import residuals
from transformer_jax.model.weighting import weightings
from transformer_jax.registry import Registry, parse_pattern

# Which registry each spec of the model section names.
MODEL_SPECS: dict[str, Registry] = {
    "family": families,
    "position": positions,
    "residual": residuals,
    "norm": norms,
    "embedding": embeddings,
    "embedding_norm": norms,
    "head": heads,
    "mixer": mixers,
    "encoder_mixer": mixers,
    "cross_mixer": mixers,
    "ffn": ffns,
    "adapter": adapters,
}


def spec_problems(config) -> list[str]:
    """Specs that cannot be read, names that are not registered, arguments that are not taken."""
    found = []
    for key, registry in MODEL_SPECS.items():
        text = config.model[key]
        try:
            for spec in parse_pattern(text) if key in PATTERNED else (text,):
                registry.arguments(spec)
        except UserError as error:
            found.append(f"model.{key}: {error}")
    if config.model.attention != "auto":
        try:
            kernels.arguments(config.model.attention)
        except UserError as error:
            found.append(f"model.attention: {error}; 'auto' chooses one")
    return found


def part_problems(config) -> list[str]:
    """What the variants have against this architecture, and against each other. Specs must be readable."""
    arch = Arch.from_config(config, vocab=1, platform="cpu")
    found = _pattern_problems(config, arch)
    if found:
        return found
    for stack in arch.stacks:
        for layer in range(arch.of(stack).parts.period):
            found += _layer_problems(config, arch.of(stack).at(layer), stack)
    found += _end_problems(config, arch)
    try:
        parse_mask(config.model.head_mask, arch)
    except UserError as error:
        found.append(f"model.head_mask: {error}")
    return list(dict.fromkeys(found))


def mesh_problems(config, sizes: Mapping[str, int]) -> list[str]:
    """Which variants cannot be split over mesh axes that are larger than 1, and why. Specs must be readable."""
    arch, found = Arch.from_config(config, vocab=1, platform="cpu"), []
    for stack in arch.stacks:
        for key in set(MODEL_SPECS) - {"family"}:
            name = "encoder_mixer" if (stack, key) == ("encoder", "mixer") else key
            for spec in arch.of(stack).parts.distinct(key):
                found += [
                    f"mesh.{axis}={sizes[axis]}: model.{name}={spec!r} cannot be split over it: {reason}; give 1"
                    for axis, reason in unshardable(MODEL_SPECS[key], spec).items()
                    if sizes[axis] > 1
                ]
    return sorted(set(found))


def unshardable(registry: Registry, spec: str) -> dict[str, str]:
    """Mesh axis -> why what `spec` names cannot be split over it; the weights of an attention are part of it."""
    cls = registry.lookup(spec)
    weights = registry.arguments(spec).get("weights", getattr(cls, "weights", None))
    return dict(cls.unshardable) | ({} if weights is None else dict(weightings.lookup(weights).unshardable))


def _pattern_problems(config, arch: Arch) -> list[str]:
    found = []
    for stack in arch.stacks:
        period, key = arch.of(stack).parts.period, {"decoder": "layers", "encoder": "encoder_layers"}[stack]
        if arch.depth(stack) % period:
            found.append(
                f"model.{key}={arch.depth(stack)}: the {stack}'s patterns repeat every {period} layers; "
                "give a multiple of it"
            )
    specs = arch.parts.distinct("position")
    added = [spec for spec in specs if positions.lookup(spec).embed is not Position.embed]
    if added and len(specs) > 1:
        found.append(
            f"model.position={config.model.position!r}: {added[0]!r} is added to the embeddings, below all layers, "
            "and cannot differ from layer to layer"
        )
    for stack in arch.stacks:
        for spec in arch.of(stack).parts.distinct("mixer"):
            try:
                mixers.lookup(spec).open(arch.of(stack), jax.ShapeDtypeStruct((1, 1, arch.dims.width), "float32"))
            except UserError as error:
                found.append(str(error))
    return found


def _layer_problems(config, arch: Arch, stack: str) -> list[str]:
    parts, causal = arch.parts, arch.causal(stack)
    own = "encoder_mixer" if stack == "encoder" else "mixer"
    position = positions.build(parts.position, arch=arch, causal=causal)
    mixer = mixers.build(parts.mixer, arch=arch, position=parts.position, causal=causal, crossing=False)
    built = {
        "norm": norms.build(parts.norm, arch=arch),
        "ffn": ffns.build(parts.ffn, arch=arch),
        "residual": residuals.build(parts.residual, arch=arch, sublayer="attention", stack=stack),
        "position": position,
        own: mixer,
    }
    schemes = {own: position}
    if "cross" in arch.sublayers(stack):
        built["cross_mixer"] = mixers.build(parts.cross_mixer, arch=arch, position="none", causal=False, crossing=True)
        schemes["cross_mixer"] = positions.build("none", arch=arch, causal=False)
    found = [f"model.{key}: {problem}" for key, part in built.items() for problem in part.problems()]
    for key, scheme in schemes.items():
        spec = parts.cross_mixer if key == "cross_mixer" else parts.mixer
        found += _mixer_problems(config, key, spec, built[key], scheme)
    if any(line.startswith(f"model.{own}") for line in found):
        return found  # what it makes of positions is not the question then
    unread = position.hooks() - mixer.reads
    if unread:
        found.append(
            f"model.position={parts.position!r} acts through {', '.join(sorted(unread))}, which "
            f"model.{own}={parts.mixer!r} does not read: give model.position='none', or one that is added to the "
            "embeddings, such as 'sinusoidal'"
        )
    return found


def _end_problems(config, arch: Arch) -> list[str]:
    """Of what stands below and above the stacks."""
    parts = arch.parts
    built = {
        "embedding": embeddings.build(parts.embedding, arch=arch),
        "embedding_norm": norms.build(parts.embedding_norm, arch=arch),
        "head": heads.build(parts.head, arch=arch),
    }
    found = [f"model.{key}: {problem}" for key, part in built.items() for problem in part.problems()]
    if built["head"].classes is not None and families.lookup(arch.family).generates:
        found.append(
            f"model.head={parts.head!r} classifies whole sequences, of which model.family={arch.family!r} has seen "
            "only the beginning at its first token: give model.family='encoder_only'"
        )
    return found


def _is_explicit(mixer, scheme) -> bool:
    return isinstance(mixer, Attention) and not mixer.problems() and not mixer.fuses(scheme)


def _mixer_problems(config, key: str, spec: str, mixer, scheme) -> list[str]:
    found = []
    place = "cross" if key == "cross_mixer" else "self"
    if place not in mixer.places and not mixer.problems():
        fit = [name for name in mixers.names() if place in mixers.lookup(name).places]
        found.append(f"model.{key}={spec!r} cannot stand in {place}-attention; give one of {', '.join(fit)}")
    if config.model.attention not in ("auto", "plain") and _is_explicit(mixer, scheme):
        found.append(
            f"model.attention={config.model.attention!r}: the fused kernel does not compute model.{key}={spec!r} "
            "with this position scheme; give 'auto' or 'plain'"
        )
    return found

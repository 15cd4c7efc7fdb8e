"""Values of config keys: such as small runs have, and such as nobody should give."""

import math
import typing
from types import UnionType

from hypothesis import strategies as st

from transformer_jax.combinations import MODEL_SPECS
from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tokenizers.base import tokenizers
from transformer_jax.data.views.base import views
from transformer_jax.model.norm import norms
from transformer_jax.model.weighting import weightings
from transformer_jax.registry import Registry, format_spec
from transformer_jax.train.schedule import schedules
from transformer_jax.train.spikes import spikes

# Every key that holds a spec, and what it names.
SPECS: dict[str, Registry] = {f"model.{key}": registry for key, registry in MODEL_SPECS.items()} | {
    "data.corpus": corpora,
    "data.view": views,
    "data.eval_view": views,
    "data.tokenizer": tokenizers,
    "optim.schedule": schedules,
    "train.spikes": spikes,
}
# Arguments that are specs or patterns themselves.
_NAMED = {"weights": weightings.names, "qk_norm": norms.names, "on": lambda: ["*/attention/*", "*", "decoder/*", "x"]}

_ODD_NUMBERS = (0, -1, -7, 2**31, 2**63, -(2**64), 10**30, 10**400)
_ODD_FLOATS = (math.nan, math.inf, -math.inf, -0.0, -1.5, 1e-320, 1e39, 1e308)
_ODD_TEXTS = (
    "",
    " ",
    "none",
    "ropee",
    "\ud800",
    "a\0b",
    "ä" * 3,
    "(" * 300,
    "rope(" * 200,
    "x" * 5000,
    "9" * 5000,
    "[1]*9",
    "*",
    "__import__('os').getcwd()",
    "(pre)*1000000000",
    "pre, " * 3000,
    "../../etc/passwd",
    "/dev/zero",
    "None",
    "true",
    "nan",
    "1e999",
    "{}",
    "a(b=c(d=1))",
    "mha(**{})",
    "mha(window=3)(2)",
    "lambda: 0",
    "\x1b[2J",
    "-",
    "rope(theta=-0.0)",
)

small_numbers = st.sampled_from((1, 2, 3, 4, 8))
odd_values = st.one_of(
    st.sampled_from(_ODD_NUMBERS),
    st.sampled_from(_ODD_FLOATS),
    st.sampled_from(_ODD_TEXTS),
    st.sampled_from((None, True, False, [], [1, 2], {}, {"a": 1})),
    st.integers(-20, 300),
    st.floats(-5, 5),
    st.text(max_size=8),
)
_BY_TYPE = {
    int: small_numbers,
    float: st.sampled_from((0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 100.0)),
    bool: st.booleans(),
    tuple: st.lists(st.integers(0, 6), max_size=3).map(tuple),
    str: st.sampled_from(("", "text", "softmax")),
    type(None): st.none(),
}


def of_type(declared: object, name: str):
    """Values that a spec's argument of this type may have."""
    if name in _NAMED:
        return st.sampled_from(_NAMED[name]())
    if isinstance(declared, UnionType):
        return st.one_of([of_type(each, name) for each in typing.get_args(declared)])
    if typing.get_origin(declared) is typing.Literal:
        return st.sampled_from(typing.get_args(declared))
    return _BY_TYPE[typing.get_origin(declared) or declared]


@st.composite
def specs(draw, registry: Registry, names: tuple[str, ...] = ()) -> str:
    """A registered variant, half of the time with arguments of the right types."""
    name = draw(st.sampled_from(names or registry.names()))
    options = registry.options(name)
    chosen = draw(st.lists(st.sampled_from(sorted(options)), unique=True, max_size=3)) if options else []
    given = {key: draw(of_type(options[key].type, key)) for key in chosen}
    return format_spec(name, **given)


@st.composite
def patterns(draw, registry: Registry, names: tuple[str, ...] = ()) -> str:
    """A spec, or several that repeat over layers."""
    several = draw(st.sampled_from((1, 1, 1, 2, 3)))
    parts = [draw(specs(registry, names)) for _ in range(several)]
    times = draw(st.sampled_from((1, 1, 2)))
    return ", ".join([f"({parts[0]})*{times}" if times > 1 else parts[0], *parts[1:]])


@st.composite
def broken_specs(draw, registry: Registry) -> str:
    """A spec with an argument that is not taken, or of a value that is not, or with a changed letter."""
    spec, way = draw(specs(registry)), draw(st.integers(0, 3))
    name = spec.partition("(")[0]
    options = sorted(registry.options(name))
    if way == 0 and options:
        return format_spec(name, **{draw(st.sampled_from(options)): draw(odd_values)})
    if way == 1:
        return format_spec(name, **{draw(st.sampled_from(("x", "theta", "sise", "kv_head", "parent", "arch"))): 1})
    if way == 2:
        at = draw(st.integers(0, len(spec)))
        return spec[:at] + draw(st.sampled_from(("", "(", ")", ",", "'", "=", "0", "x", "*", "\n"))) + spec[at + 1 :]
    return draw(st.sampled_from(_ODD_TEXTS))

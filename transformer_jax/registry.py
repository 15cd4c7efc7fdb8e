"""Variants by name: `Registry` and the spec strings `'rope(theta=1e4)'` that choose among them.

A spec is read with `ast` and never evaluated. It names a registered class and may set some of the class's
own dataclass fields, literals only. It is replaced as a whole, so no stale argument survives an override.
"""

import ast
import dataclasses
import importlib
import pkgutil
import types
import typing
import warnings
from collections.abc import Callable
from functools import cache

from transformer_jax.errors import UserError, nearest

_FLAX_FIELDS = ("parent", "name")
_LETTERS, _LONGEST, _SHOWN = 10_000, 10_000, 300  # of a spec or pattern, specs of a pattern, letters in a message

_LARGEST, _GREATEST = 2**31 - 1, 3e38  # what arrays count with, and what float32 holds


@cache
def parse_spec(spec: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    """`'rope(theta=1e4)'` -> `('rope', (('theta', 1e4),))`.

    Raises:
      UserError: if `spec` is neither `name` nor `name(key=literal, …)`.
    """
    wanted = "a spec is written name or name(key=value, …), with literal values"
    node = _parsed(spec, f"cannot read the spec {_short(spec)}: {wanted}")
    if isinstance(node, ast.Name):
        return node.id, ()
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or node.args:
        raise UserError(f"cannot read the spec {spec!r}: {wanted}")
    names = [keyword.arg for keyword in node.keywords]
    if None in names or len(set(names)) < len(names):
        raise UserError(f"cannot read the spec {spec!r}: {wanted}")
    arguments = {}
    for keyword in node.keywords:
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise UserError(f"in the spec {spec!r}, {keyword.arg} is not a literal: {wanted}") from None
    return node.func.id, tuple(arguments.items())


@cache
def parse_pattern(text: str) -> tuple[str, ...]:
    """The specs that `text` repeats over layers, the shortest period: `'(rope)*2, none'` -> `('rope', 'rope', 'none')`.

    A pattern is a spec, or several separated by commas; a part in parentheses may be repeated with `*n`.

    Raises:
      UserError: if `text` is no such thing.
    """
    wanted = "a pattern is written like (spec)*3, other"
    node = _parsed(text, f"cannot read the pattern {_short(text)}: {wanted}")
    specs = _specs_of(node, text.strip(), wanted)
    for period in range(1, len(specs) + 1):
        if len(specs) % period == 0 and all(spec == specs[i % period] for i, spec in enumerate(specs)):
            return tuple(specs[:period])
    raise UserError(f"the pattern {text!r} is empty: {wanted}")


def _specs_of(node: ast.expr, text: str, wanted: str) -> list[str]:
    if isinstance(node, ast.Tuple):
        return [spec for part in node.elts for spec in _specs_of(part, text, wanted)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = node.right.value if isinstance(node.right, ast.Constant) else None
        inside = _specs_of(node.left, text, wanted)
        if type(times) is int and 0 < times * len(inside) <= _LONGEST:
            return inside * times
        raise UserError(
            f"in the pattern {_short(text)}, {_short(ast.unparse(node))}: give a whole number above 0 behind the *, so "
            f"that there are {_LONGEST} specs at most"
        )
    return [ast.get_source_segment(text, node)]


def _parsed(text: str, refusal: str) -> ast.expr:
    if len(text) > _LETTERS:
        raise UserError(f"{refusal}, in {_LETTERS} letters at most")
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's, on what looks like a mistake in a program
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a null, half a character, too deep
        raise UserError(refusal) from None


def _short(text: str) -> str:
    """As it is shown in messages."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


def format_spec(name: str, **arguments: object) -> str:
    """The inverse of `parse_spec`: `format_spec('rope', theta=1e4)` -> `'rope(theta=10000.0)'`."""
    inner = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{name}({inner})" if inner else name


class Registry:
    """The variants of one axis ('position', 'mixer', …), found in one package, one file each.

    The package is imported when the registry is first asked for something, so a new file is picked up
    without an edited line.
    """

    def __init__(self, axis: str, package: str, *, base_fields: tuple[str, ...] = ()):
        """Args:
        axis: what the variants vary, as errors and tables call it.
        package: the package whose modules register them.
        base_fields: fields that the caller of `build` gives and that a spec may not set.
        """
        self.axis = axis
        self._package = package
        self._base_fields = base_fields
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: `@positions.register('rope')`."""

        def add(cls: type) -> type:
            if name in self._classes and self._classes[name].__module__ != cls.__module__:
                raise ValueError(f"{self.axis} {name!r} is registered twice: {self._classes[name]} and {cls}")
            self._classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        import_all(self._package)
        return sorted(self._classes)

    def lookup(self, spec: str) -> type:
        """The class that `spec` names.

        Raises:
          UserError: `unknown position 'ropee' (did you mean 'rope'?); have alibi, learned, …`.
        """
        name, _ = parse_spec(spec)
        names = self.names()
        if name not in self._classes:
            raise UserError(f"unknown {self.axis} {name!r}{nearest(name, names)}; have {', '.join(names)}")
        return self._classes[name]

    def options(self, spec: str) -> dict[str, dataclasses.Field]:
        """The fields of a variant that a spec may set, by name."""
        hidden = (*_FLAX_FIELDS, *self._base_fields)
        return {f.name: f for f in dataclasses.fields(self.lookup(spec)) if f.init and f.name not in hidden}

    def arguments(self, spec: str) -> dict[str, object]:
        """The checked arguments of `spec`: names and types as the class declares them."""
        options = self.options(spec)
        checked = {}
        for key, value in parse_spec(spec)[1]:
            if key not in options:
                have = ", ".join(options) or "no arguments"
                raise UserError(f"{self.axis} {spec!r} has no argument {key!r}{nearest(key, options)}; it takes {have}")
            checked[key] = _coerce(value, options[key].type, f"{self.axis} {spec!r}, argument {key!r}")
        return checked

    def build(self, spec: str, /, **given: object):
        """The variant that `spec` names, its own arguments from the spec and the base's from `given`."""
        return self.lookup(spec)(**self.arguments(spec), **given)


def _coerce(value: object, declared: object, where: str) -> object:
    """`value` if it is of the `declared` type; an int stands for a float, a list for a tuple."""
    options = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
    if isinstance(value, int | float) and not abs(value) <= (_LARGEST if isinstance(value, int) else _GREATEST):
        raise UserError(f"{where}: the number is too large; give {_LARGEST} at most, or {_GREATEST:g} with a point")
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is typing.Literal:
            if value in typing.get_args(option):
                return value
            continue
        if option is None or option is types.NoneType:
            if value is None:
                return None
            continue
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if origin is tuple and isinstance(value, list | tuple):
            return tuple(value)
        if isinstance(value, origin) and not (origin is int and isinstance(value, bool)):
            return value
    accepted = " or ".join(_type_name(option) for option in options)
    raise UserError(f"{where}: {value!r} is not accepted; give {accepted}")


def _type_name(option: object) -> str:
    if typing.get_origin(option) is typing.Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(option))
    return "None" if option in (None, types.NoneType) else getattr(option, "__name__", str(option))


@cache
def import_all(package: str) -> None:
    """Imports every module of `package` (which may be a single module), so that what they register is known."""
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        importlib.import_module(f"{package}.{info.name}")

"""Components by name: `kind = "dense.Dense"` is class Dense in layers/dense.py."""

import dataclasses
import difflib
import functools
import importlib
import os
import pkgutil
import re
import sys
import traceback
import types
import typing
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

import eqprop_spice
from eqprop_spice.arrays import Array
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.devices.measured import AnyDiode, Curve, Measured
from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.errors import ConfigError
from eqprop_spice.substrates.base import AbstractSubstrate

IDEAL = "ideal"
"""Name of the ideal diode beside the presets."""

KIND_PATTERN = re.compile(r"[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*")

OUTSIDE_PATTERN = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
"""A class of another package: `kind = "mypackage.module:Class"`."""

EXPECTED_DIODE = "the name of a preset or a table with its parameters"

EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "string_pattern_mismatch": "a name of lower-case letters, digits and underscores that begins "
    "with a letter",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
}
"""What pydantic's complaints mean to somebody who writes TOML."""


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that names the nearest valid name, or all of them."""
    valid = list(valid)
    if not valid:
        return "There is none."
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Valid: {', '.join(sorted(valid))}."


def _names(listed: str) -> list[str]:
    """Return the names that pydantic lists in quotes."""
    return [name.strip("' ") for name in listed.split(",")]


def _members(hint: Any) -> list[Any]:
    """Return the types that a value may have, without None."""
    if typing.get_origin(hint) is Annotated:
        return _members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [one for part in typing.get_args(hint) for one in _members(part)]
    return [] if hint is type(None) else [hint]


def _keys(cls: Any) -> dict[str, Any]:
    """Return the types of the keys of a table by name; none if a value is no table."""
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    if dataclasses.is_dataclass(cls):
        return typing.get_type_hints(cls, include_extras=True)
    return {}


def _walk(model: Any, location: Sequence[int | str]) -> tuple[tuple[int | str, ...], list[str]]:
    """Return a location in a table as its author sees it, and the keys of its innermost table.

    Pydantic adds to a location which member of a union it took: its `kind`.
    """
    seen, tables = [], [model]
    for part in location:
        keys = {name: hint for table in tables for name, hint in _keys(table).items()}
        if isinstance(part, int):
            elements = [typing.get_args(table)[:1] for table in tables]
            tables = [member for hints in elements for hint in hints for member in _members(hint)]
        elif part in keys:
            tables = _members(keys[part])
        elif members := [t for t in tables if part in typing.get_args(_keys(t).get("kind"))]:
            tables = members
            continue
        elif len(tables) > 1 and not keys:
            # A name that pydantic gives to one of several plain types, such as "float".
            continue
        seen.append(part)
    return tuple(seen), [name for table in tables for name in _keys(table)]


UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
"""How pydantic calls a key that a model, or a dataclass, does not have."""


def complaint(error: ValidationError, model: Any) -> tuple[tuple[int | str, ...], str]:
    """Return where a table is wrong, and a sentence: what was expected, what came.

    Args:
        error: What pydantic says of the table.
        model: The pydantic model of the table.
    """
    # A mistyped key is also a missing one; the mistyped one is what the user has to see.
    all_errors = error.errors(include_url=False)
    first = next((e for e in all_errors if e["type"] in UNKNOWN), all_errors[0])
    (location, keys), kind, value = _walk(model, first["loc"]), first["type"], first.get("input")
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    context = first.get("ctx", {})
    if kind in UNKNOWN:
        return location, f"unknown key. {suggestion(str(location[-1]), keys)}"
    if kind == "missing":
        short = isinstance(location[-1], int)
        return location, "this list is too short." if short else "this key is missing."
    if kind == "union_tag_not_found":
        return (*location, "kind"), "this key is missing."
    if kind == "union_tag_invalid":
        names, tag = _names(context["expected_tags"]), context["tag"]
        return (*location, "kind"), f"there is no '{tag}'. {suggestion(tag, names)}"
    if kind == "literal_error":
        expected = context.get("expected", "")
        names = _names(expected.replace(" or ", ","))
        return location, f"expected {expected}, got {shown}. {suggestion(str(value), names)}"
    if kind == "value_error":
        return location, first["msg"].removeprefix("Value error, ")
    if kind in EXPECTED:
        return location, f"expected {EXPECTED[kind]}, got {shown}."
    return location, f"{first['msg'][0].lower()}{first['msg'][1:]}, got {shown}."


GROUP = "eqprop_spice."
"""Entry points of plug-in packages: group `eqprop_spice.layers`, name `theirs.Clamp`, and so on."""


FOLDERS = (
    "constraints",
    "costs",
    "datasets",
    "initializers",
    "layers",
    "nonidealities",
    "rules",
    "substrates",
)
"""What packages may add kinds to."""


@functools.cache
def plugged_in() -> dict[tuple[str, str], str]:
    """Return `module:Class` by folder and kind, of the packages that plug into this one."""
    return {
        (folder, point.name): point.value
        for folder in FOLDERS
        for point in metadata.entry_points(group=f"{GROUP}{folder}")
    }


def component_names(folder: str) -> list[str]:
    """Return the kinds that a folder of the package and plug-in packages offer."""
    return _own_names(folder) + [kind for place, kind in plugged_in() if place == folder]


def _own_names(folder: str) -> list[str]:
    package = importlib.import_module(f"eqprop_spice.{folder}")
    names = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        names += [
            f"{info.name}.{name}"
            for name, value in vars(module).items()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and not name.startswith(("Abstract", "_"))
            and any(base.__name__.startswith("Abstract") for base in value.__mro__)
        ]
    return names


def resolve(folder: str, kind: Any) -> type:
    """Return the class that a kind names.

    Raises:
        ConfigError: If there is none, with the nearest name.
    """
    if kind is None:
        raise ConfigError(f"this key is missing. {suggestion('', component_names(folder))}")
    if isinstance(kind, str) and (outside := OUTSIDE_PATTERN.fullmatch(kind)):
        return _from_outside(folder, outside[1], outside[2])
    if not isinstance(kind, str) or not KIND_PATTERN.fullmatch(kind):
        near = suggestion(str(kind), component_names(folder))
        raise ConfigError(f"expected 'module.Class', got {kind!r}. {near}")
    own = kind in _own_names(folder)
    if not own and (place := plugged_in().get((folder, kind))):
        return _from_outside(folder, *place.split(":"))
    if not own:
        raise ConfigError(f"there is no '{kind}'. {suggestion(kind, component_names(folder))}")
    module, name = kind.split(".")
    return getattr(importlib.import_module(f"{eqprop_spice.__name__}.{folder}.{module}"), name)


def _from_outside(folder: str, module: str, name: str) -> type:
    """Return a class of another package, which must be what the folder holds.

    Raises:
        ConfigError: If it cannot be imported, or is something else.
    """
    base = importlib.import_module(f"{eqprop_spice.__name__}.{folder}.base")
    bases = tuple(
        v for k, v in vars(base).items() if k.startswith("Abstract") and isinstance(v, type)
    )
    bases = tuple(b for b in bases if b.__module__ == base.__name__)
    cls = getattr(_imported(module), name, None)
    if not (isinstance(cls, type) and issubclass(cls, bases) and dataclasses.is_dataclass(cls)):
        names = " or ".join(b.__name__ for b in bases)
        raise ConfigError(
            f"'{module}:{name}' is no frozen dataclass that derives from {names} of "
            f"eqprop_spice.{folder}.base."
        )
    return cls


def _imported(module: str) -> types.ModuleType:
    """Return a module of the user, which is looked for in the working folder too.

    Raises:
        ConfigError: If it cannot be imported: its own error, with file and line.
    """
    here, added = os.getcwd(), not {"", os.getcwd()} & set(sys.path)
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name and f"{module}.".startswith(f"{error.name}.")):
            raise ConfigError(_failure(module, error)) from error
        raise ConfigError(
            f"'{module}' cannot be imported: {error}. It has to be installed, on PYTHONPATH, or in "
            "the working folder."
        ) from error
    except Exception as error:
        raise ConfigError(_failure(module, error)) from error
    finally:
        if added:
            sys.path.remove(here)


def _failure(module: str, error: Exception) -> str:
    """Return what stopped an import, with the file and the line where it did."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
        place = f"{own[-1].filename}, line {own[-1].lineno}" if own else module
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"'{module}' fails when it is imported: {type(error).__name__}: {words} ({place})."


def outside_modules(value: Any) -> set[str]:
    """Return the modules outside of this package that the kinds in a table name."""
    if isinstance(value, dict):
        kind = value.get("kind")
        named = kind if isinstance(kind, str) else ""
        # Of whatever folder: a plug-in is installed, but the one who wrote the file is not known.
        places = {name: place for (_, name), place in plugged_in().items()}
        outside = OUTSIDE_PATTERN.fullmatch(places.get(named, named))
        inner = set().union(*map(outside_modules, value.values())) if value else set()
        return inner | ({outside[1]} if outside else set())
    if isinstance(value, list | tuple):
        return set().union(*map(outside_modules, value)) if value else set()
    return set()


def check_trusted(value: Any, where: str) -> None:
    """Refuse classes of other packages in a file that may come from anywhere.

    Importing a module runs its code, so that a folder from a stranger must not choose one.

    Raises:
        ConfigError: If there are such classes and `EQPROP_TRUST` does not name their package.
    """
    trusted = {name.strip() for name in os.environ.get("EQPROP_TRUST", "").split(",")}
    for module in sorted(outside_modules(value)):
        package = module.split(".")[0]
        # One that is imported already runs nothing anew.
        if package not in trusted and module not in sys.modules:
            raise ConfigError(
                f"{where} names a class of '{module}', and importing it runs its code. If you "
                f"trust it, set the environment variable EQPROP_TRUST={package}."
            )


LAWS = {"on_conductance": PiecewiseLinear, "voltages": Curve, "currents": Curve}
"""What a table of a diode with such a key describes, if not a junction."""


def _diode(value: Any) -> Any:
    """Accept the name of a preset, or a table with the parameters of a diode."""
    if isinstance(value, str):
        names = {**PRESETS, IDEAL: Ideal()}
        if value not in names:
            raise ValueError(f"there is no diode '{value}'. {suggestion(value, names)}")
        return names[value]
    if isinstance(value, dict):
        law = next((law for key, law in LAWS.items() if key in value), Shockley)
        model = arguments_model(law)
        try:
            arguments = dict(model.model_validate(value))
            return Measured(Curve(**arguments)) if law is Curve else law(**arguments)
        except ValidationError as error:
            location, sentence = complaint(error, model)
            raise ValueError(f"{'.'.join(map(str, location))}: {sentence}") from error
    if not isinstance(value, AnyDiode):
        raise ValueError(f"expected {EXPECTED_DIODE}, got {value!r}.")
    return value


def _substrate(value: Any) -> Any:
    """Accept the table of a system that another one is made of."""
    if not isinstance(value, dict):
        return value
    try:
        return build("substrates", value)
    except ValidationError as error:
        model = arguments_model(resolve("substrates", value["kind"]))
        location, sentence = complaint(error, model)
        raise ValueError(f"{'.'.join(map(str, location))}: {sentence}") from error


def arguments_model(cls: type) -> type[BaseModel]:
    """Return a pydantic model of a component's fields: strict, unknown keys refused."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if hint == float | Array:
            # Given as a number; an array only takes its place while JAX traces.
            hint = float
        if hint == AbstractSubstrate:
            hint = Annotated[AbstractSubstrate, BeforeValidator(_substrate)]
        if hint in (AnyDiode, Shockley):
            hint = Annotated[hint, BeforeValidator(_diode)]
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        fields[field.name] = (hint, ... if default is dataclasses.MISSING else default)
    return create_model(
        cls.__name__,
        __config__=ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True),
        **fields,
    )


def frozen_lists(value: Any) -> Any:
    """Return the value with every list made a tuple: components are immutable."""
    if isinstance(value, list | tuple):
        return tuple(frozen_lists(item) for item in value)
    if isinstance(value, dict):
        return {key: frozen_lists(item) for key, item in value.items()}
    return value


def build(folder: str, table: dict[str, Any]) -> Any:
    """Return the component that a table describes.

    Raises:
        ConfigError: If its kind is unknown.
        pydantic.ValidationError: If its arguments are wrong.
    """
    cls = resolve(folder, table.get("kind"))
    arguments = {key: value for key, value in table.items() if key != "kind"}
    model = arguments_model(cls).model_validate(frozen_lists(arguments))
    return cls(**{name: getattr(model, name) for name in type(model).model_fields})

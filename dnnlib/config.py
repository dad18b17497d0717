"""Frozen dataclasses to JSON and back; a key that no field has is an error."""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested plain dictionaries, lists, numbers and texts."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """Builds the dataclass `cls` from nested plain values.

    A class may have a static method `from_earlier` that gives what an earlier version wrote the
    names of today.

    Raises:
        UserError: a key is unknown or a required one is missing.
    """
    values = _in_todays_names(cls, values)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            known = ", ".join(sorted(fields))
            raise UserError(f"unknown setting {where}{key}; known: {known}")
        arguments[key] = _convert(hints[key], value, f"{where}{key}.")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise UserError(f"setting {where}{name} is missing")
    return cls(**arguments)


def complete(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Nested plain values of a dataclass, with the defaults of what they lack.

    So that what an earlier version wrote can be compared with what this one writes. Keys that no
    field has stay.
    """
    values = _in_todays_names(cls, values)
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint, value = hints[item.name], values.get(item.name)
        if item.name not in values and item.default is not dataclasses.MISSING:
            values[item.name] = item.default
        if item.name not in values and item.default_factory is not dataclasses.MISSING:
            values[item.name] = item.default_factory()
        hint = _chosen(hint, value)
        if dataclasses.is_dataclass(hint) and isinstance(value, dict):
            values[item.name] = complete(typing.cast(type, hint), value)
    return values


def with_settings(config: T, changes: dict[str, Any]) -> T:
    """A nested frozen dataclass with other values.

    Args:
        config: the dataclass.
        changes: setting -> value; `loss.gamma` is the field `gamma` of the field `loss`.
    """
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest:
            value = with_settings(getattr(config, first), {rest: value})
        config = dataclasses.replace(config, **{first: value})  # type: ignore[type-var]
    return config


def _in_todays_names(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    translate = getattr(cls, "from_earlier", None)
    return dict(values) if translate is None else translate(values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType) and value is None:
        return None
    hint = _chosen(hint, value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    return value


def _chosen(hint: Any, value: Any) -> Any:
    """Of a union, the first class; of several dataclasses, the first with all of a value's keys."""
    if not isinstance(hint, types.UnionType):
        return hint
    choices = [h for h in typing.get_args(hint) if h is not types.NoneType]
    if isinstance(value, dict):
        for choice in choices:
            if dataclasses.is_dataclass(choice):
                names = {f.name for f in dataclasses.fields(choice)}
                if names.issuperset(value):
                    return choice
    return choices[0]


def save_json(config: Any, path: str | os.PathLike[str]) -> None:
    """Writes a dataclass as indented JSON, atomically."""
    with open_atomic(path, "w", encoding="utf-8") as file:
        json.dump(to_dict(config), file, indent=2)
        file.write("\n")


def load_json(cls: type[T], path: str | os.PathLike[str]) -> T:
    """Reads a dataclass that `save_json` wrote.

    Raises:
        UserError: no such file, not JSON, or keys that do not fit.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read settings from {path}: {error}") from error
    return from_dict(cls, values)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`name (before, now ...)` of every entry that is not the same; nested ones by dotted names."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{text}" for text in differences(old, new)]
        elif old != new:
            found.append(f"{name} ({old}, now {new})")
    return found

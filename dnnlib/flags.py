"""Flags as fields: an options dataclass says everything about a flag where the field stands.

    gamma: float | None = flag(None, "R1 regularisation", type=cli.non_negative_float)

`add_flags` makes the parser's arguments of such fields, and `read_flags` the dataclass of what was
parsed. A field without `flag` is none of the command line's business.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dnnlib import cli

T = TypeVar("T")
_KEY = "flag"


@dataclass(frozen=True)
class Flag:
    """What a field's flag is beside its name, default and type."""

    help: str
    name: str | None = None  # None: that of the field, with hyphens
    metavar: str | None = None
    type: Callable[[str], Any] | None = None  # None: that of the field
    choices: Sequence[str] | None = None
    sets: str | None = None  # the setting that it stands for, see `settings_of`


def flag(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field that is a flag of the command line.

    Args:
        default: where the flag is left out; `dataclasses.MISSING`: it must be given.
        help: for `--help`.
        more: further fields of `Flag`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Flag(help, **more)})


def add_flags(parser: argparse.ArgumentParser, cls: type) -> None:
    """Adds the flags of a dataclass, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    for field, spec in _flags_of(cls):
        required = field.default is dataclasses.MISSING
        kind = spec.type or _plain_type(hints[field.name])
        options: dict[str, Any] = {"metavar": spec.metavar, "help": spec.help}
        if kind is bool:
            kind = cli.boolean
            options |= {"nargs": "?", "const": True, "metavar": "BOOL"}
            if isinstance(field.default, bool):
                options["help"] += f" (default: {field.default})"
        if spec.choices is not None:
            options["choices"] = spec.choices
        if not required:
            options["default"] = field.default
        parser.add_argument(
            spec.name or f"--{field.name.replace('_', '-')}",
            dest=field.name,
            required=required,
            type=kind,
            **options,
        )


def read_flags(cls: type[T], args: argparse.Namespace) -> T:
    """The dataclass of what a parser with the flags of `cls` has parsed."""
    return cls(**{field.name: getattr(args, field.name) for field, _ in _flags_of(cls)})


def settings_of(options: Any) -> dict[str, Any]:
    """What the flags that were given set: setting, such as `loss.gamma`, -> value."""
    found = {}
    for field, spec in _flags_of(type(options)):
        value = getattr(options, field.name)
        if spec.sets is not None and value is not None:
            found[spec.sets] = value
    return found


def _flags_of(cls: type) -> list[tuple[dataclasses.Field[Any], Flag]]:
    fields = dataclasses.fields(cls)
    return [(field, field.metadata[_KEY]) for field in fields if _KEY in field.metadata]


def _plain_type(hint: Any) -> Any:
    """`int | None` -> int."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint

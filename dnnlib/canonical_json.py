"""Plain data as the one JSON text that follows from the data alone: what is hashed and signed."""

import json
from typing import Any, NoReturn


class DuplicateKeyError(ValueError):
    """A key that stands twice in one object: one reader takes the first, another the last."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks, not ASCII only: one text for one value.

    Args:
        value: nested dict, list, tuple, text, finite numbers, True, False, None.

    Raises:
        ValueError: a number that is not finite.
        TypeError: anything else.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def parse_json(text: str | bytes) -> Any:
    """JSON of which every reader makes the same: no key twice in one object, no NaN.

    Raises:
        ValueError: it is no such JSON; says why.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateKeyError(f"the key {twice!r} stands there twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def canonical_bytes(value: Any) -> bytes:
    """`canonical_json` in UTF-8. Half characters, which no Unicode text has, are kept as well."""
    return canonical_json(value).encode("utf-8", errors="surrogatepass")

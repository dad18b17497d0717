"""Plain data as the one JSON text that follows from the data alone, and JSON read strictly."""

import json
from typing import Any


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


def canonical_bytes(value: Any) -> bytes:
    """`canonical_json` in UTF-8. Half characters, which no Unicode text has, are kept as well."""
    return canonical_json(value).encode("utf-8", errors="surrogatepass")


def parse_json(text: str | bytes) -> Any:
    """Reads JSON that somebody else has written.

    Raises:
        ValueError: no JSON, nested too deeply, a key that comes twice, or NaN and Infinity, which
            JSON does not have; the text says which.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} comes twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")

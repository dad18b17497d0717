"""Plain data as the one JSON text that follows from the data alone: what is hashed and signed."""

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

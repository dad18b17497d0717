"""Public handles: names of fingerprints that anybody may see.

A handle is a hash of where a fingerprint stands in the registry. It follows neither from its bits
nor from the licensee's name, so it gives none of them away, however few bits there are. A licensee
finds the own one in the instance's manifest; who has no manifest of the registry cannot tell
handles from random numbers.
"""

import hashlib

PREFIX = "fp-"
SOFT_BINDING = "gan-fingerprints.1"  # what C2PA manifests call the algorithm behind handles
_DIGITS = 32  # 128 bits


def handle_of(registry_id: str, model_hash: str, fingerprint_id: int) -> str:
    """The handle of a fingerprint.

    Args:
        registry_id: the registry's random name.
        model_hash: SHA-256 of the model, in hex.
        fingerprint_id: in the registry.

    Returns:
        `fp-` and 32 hex digits.
    """
    text = f"public handle\n{registry_id}\n{model_hash}\n{fingerprint_id}\n"
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

"""What a service is told when it starts."""

from dataclasses import dataclass
from typing import Literal

Reveal = Literal["none", "handle", "licensee"]
REVEALS: tuple[Reveal, ...] = ("none", "handle", "licensee")


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take."""

    max_batch: int = 64  # pictures that the network reads at once
    max_wait: float = 0.005  # seconds that a picture waits for others
    queue: int = 256  # pictures that may wait or be read; more get 429
    timeout: float = 10.0  # seconds that a request may take in all, its upload included
    max_bytes: int = 20_000_000  # of a picture's file
    max_pixels: int = 40_000_000  # of a picture, looked at before it is decoded
    max_files: int = 16  # pictures of a request
    anonymous: int = 60  # pictures a minute of an address without a key; 0: keys only


@dataclass(frozen=True)
class Settings:
    """Of a service."""

    reveal: Reveal = "handle"  # what an answer says of whose fingerprint it is
    limits: Limits = Limits()
    keys: str | None = None  # file of callers' keys
    feedback: str | None = None  # file that feedback is added to; None: none is taken
    c2pa: bool = False  # C2PA manifests of pictures are read, too
    c2pa_alg: str | None = None  # what they call our soft bindings; None: `SOFT_BINDING`
    c2pa_anchors: str | None = None  # file of certificates to trust
    manifests: str | None = None  # file that says which manifests have which soft binding
    report_key: str | None = None  # file of the private key that signs reports
    allow_urls: bool = False  # pictures may be named by address
    refresh: float = 1.0  # seconds between two looks at the registry

"""Encryption of what the registry stores about a fingerprint's bits.

AES-SIV (RFC 5297, AES-256) is deterministic, so equal bits give equal ciphertexts and the
database's own unique constraint still holds. It is authenticated, so changed ciphertexts are
noticed.
"""

from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES = 64


class CannotDecrypt(Exception):
    """Another key, another context, or the ciphertext was changed."""


class Cipher(Protocol):
    """What turns bytes into what is stored, and back."""

    name: str  # as the registry's settings say it

    def encrypt(self, data: bytes, *context: str) -> bytes:
        """Bytes as they are stored; `context` must be given to `decrypt` as well."""

    def decrypt(self, stored: bytes, *context: str) -> bytes:
        """Stored bytes as they were.

        Raises:
            CannotDecrypt: they were not made by `encrypt` with this key and context.
        """


class Plain:
    """Stores bytes as they are."""

    name = "none"

    def encrypt(self, data: bytes, *context: str) -> bytes:
        """The same bytes."""
        return data

    def decrypt(self, stored: bytes, *context: str) -> bytes:
        """The same bytes."""
        return stored


class AesSiv:
    """AES-SIV with a key of 64 bytes; the context is its associated data."""

    name = "AES-256-SIV"

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
        self._siv = AESSIV(key)

    def encrypt(self, data: bytes, *context: str) -> bytes:
        """16 bytes longer than `data`."""
        return self._siv.encrypt(data, [text.encode() for text in context])

    def decrypt(self, stored: bytes, *context: str) -> bytes:
        """See `Cipher`."""
        try:
            return self._siv.decrypt(stored, [text.encode() for text in context])
        except (InvalidTag, ValueError) as error:  # ValueError: shorter than any ciphertext
            raise CannotDecrypt from error

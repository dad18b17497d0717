"""Key files: made once, readable by their owner alone, checked when they are read.

| kind | what it is for | file |
|---|---|---|
| signing | signs instance manifests, Ed25519 | PEM; the public half in `<file>.pub` |
| registry | encrypts the bits in the registry | one line, 64 random bytes in hex |
| payload | draws fingerprints from registered numbers | one line, 32 random bytes in hex |
"""

import os
import re
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dnnlib.atomic import write_error
from dnnlib.errors import UserError
from dnnlib.files import check_regular

_SECRET_BYTES = {"registry": 64, "payload": 32}
KINDS = ("signing", *_SECRET_BYTES)
_MAX_BYTES = 100_000  # of a key file; the longest of ours has 150


def write_key(path: str | os.PathLike[str], kind: str) -> list[Path]:
    """Makes a new random key of a kind of `KINDS`.

    Returns:
        The files written: `path`, mode 0600, and for a signing key `<path>.pub`.

    Raises:
        UserError: a file exists already (keys are never overwritten) or cannot be written.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of {KINDS}, got {kind!r}")
    path = Path(path)
    if kind != "signing":
        _write_new(path, f"{kind}-key {secrets.token_hex(_SECRET_BYTES[kind])}\n".encode(), 0o600)
        return [path]

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    public_path = path.with_name(path.name + ".pub")
    if public_path.exists():
        raise _exists(public_path)
    _write_new(path, private, 0o600)
    try:
        _write_new(public_path, public, 0o644)
    except UserError:
        path.unlink()
        raise
    return [path, public_path]


def load_secret(path: str | os.PathLike[str], kind: str) -> bytes:
    """Reads a key of kind "registry" (64 bytes) or "payload" (32 bytes).

    Raises:
        UserError: no such file, another kind of file, or one that others may read.
    """
    if kind not in _SECRET_BYTES:
        raise ValueError(f"expected a kind of {tuple(_SECRET_BYTES)}, got {kind!r}")
    data = _read(path, is_private=True)
    found = re.fullmatch(rb"(\w+)-key ([0-9a-f]+)\s*", data)
    if found is None or found[1].decode() != kind:
        raise _not_a_key(path, kind, data)
    if len(found[2]) != 2 * _SECRET_BYTES[kind]:
        raise UserError(
            f"{path}: a {kind} key has {2 * _SECRET_BYTES[kind]} hex digits, this file has "
            f"{len(found[2])}; restore the file from its backup"
        )
    return bytes.fromhex(found[2].decode())


def load_signing_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Reads the private half of a signing key.

    Raises:
        UserError: as for `load_secret`.
    """
    data = _read(path, is_private=True)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path, "signing", data) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(path, "signing", data)
    return key


def load_public_key(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    """Reads the public half of a signing key, the `.pub` file.

    Raises:
        UserError: no such file, or another kind of file.
    """
    data = _read(path, is_private=False)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path, "public", data) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _not_a_key(path, "public", data)
    return key


def _exists(path: Path) -> UserError:
    return UserError(
        f"{path} exists already, and keys are not overwritten; choose another name or move it away"
    )


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that must not exist and that never has more rights than `mode`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise write_error(path, error) from error
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise write_error(path, error) from error


def _read(path: str | os.PathLike[str], *, is_private: bool) -> bytes:
    check_regular(path, "the key")
    try:
        with open(path, "rb") as file:
            # Of the file that was opened: the name may point to another one by now.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise UserError(
            f"cannot read the key {os.fspath(path)}: {error.strerror}; check the path, or make a "
            "key with keygen"
        ) from error
    is_public = data.startswith(b"-----BEGIN PUBLIC KEY")  # the wrong file, and no secret
    if is_private and mode & 0o077 and not is_public:
        raise UserError(
            f"{os.fspath(path)} is a private key that others may read (mode {mode:04o}); "
            f"run: chmod 600 {os.fspath(path)}"
        )
    return data


def _not_a_key(path: str | os.PathLike[str], wanted: str, data: bytes) -> UserError:
    found = re.match(rb"(?:-----BEGIN (PRIVATE|PUBLIC) KEY-----|(registry|payload)-key )", data)
    is_a = "not a key file"
    if found is not None:
        kind = (found[1] or found[2]).decode().lower()
        kind = {"private": "signing"}.get(kind, kind)
        is_a = f"a damaged {kind} key" if kind == wanted else f"a {kind} key"
    article = "the .pub file of a signing key" if wanted == "public" else f"a {wanted} key"
    return UserError(f"{os.fspath(path)} is {is_a}; give the path of {article}, made by keygen")

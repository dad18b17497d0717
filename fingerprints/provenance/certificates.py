"""Keys for C2PA with certificates of our own, until an authority issues some."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dnnlib.atomic import open_atomic
from fingerprints.keys import load_signing_key, write_key

CHAIN_ENDING = ".chain.pem"  # behind the key's name: its certificate, then those above it
_DAYS = 3 * 365


def write_c2pa_key(path: str | os.PathLike[str], organisation: str) -> list[Path]:
    """Makes a signing key and a chain of certificates for it.

    The key of the root is thrown away, so the root vouches for this one key. Who reads pictures can
    be told to trust it; others see a valid signature by somebody whom they do not know.

    Args:
        path: of the key; the chain and the public half go beside it.
        organisation: named in the certificates.

    Returns:
        The files written.

    Raises:
        UserError: as `write_key`.
    """
    files = write_key(path, "signing")
    key, root_key = load_signing_key(path), Ed25519PrivateKey.generate()
    root_name, name = _name(organisation, "C2PA root"), _name(organisation, "C2PA signing")
    root = (
        _certificate(root_name, root_name, root_key, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(is_root=True), critical=True)
        .sign(root_key, None)
    )
    leaf = (
        _certificate(name, root_name, key, root_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_root=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .sign(root_key, None)
    )
    chain = Path(f"{os.fspath(path)}{CHAIN_ENDING}")
    with open_atomic(chain) as file:
        file.writelines(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, root))
    return [*files, chain]


def _name(organisation: str, what: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation}: {what}"[:64]),
    ])  # fmt: skip


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: Ed25519PrivateKey, issuer_key: Ed25519PrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(authority, False)
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment"), False),
        **dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False),
    )

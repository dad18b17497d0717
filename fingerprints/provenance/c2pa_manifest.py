"""Pictures that say it themselves: signed C2PA manifests, written and read with c2pa-python.

A manifest says that the picture is generated, when, by which model, and has a soft binding: a name
for the fingerprint in the pixels, by which a manifest that was stripped is found again. The name is
the public handle (`fingerprints.handles`), never the bits.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from dnnlib.errors import UserError
from dnnlib.files import read_bytes
from dnnlib.optional import require
from fingerprints.handles import SOFT_BINDING
from fingerprints.provenance.certificates import CHAIN_ENDING

MISSING = "C2PA manifests need the package {name}; run: pip install -r requirements/c2pa.txt"
_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
# Nothing is fetched, whatever a picture asks for; and a picture is its own thumbnail.
_SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_ACTIONS = ("c2pa.actions", "c2pa.actions.v2")
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


@dataclass(frozen=True)
class Origin:
    """What a manifest says of a picture."""

    title: str  # name of the file
    model: str  # what made it
    time: str  # UTC, ISO 8601
    handle: str | None  # of the fingerprint; None: no soft binding
    alg: str = SOFT_BINDING


@dataclass(frozen=True)
class Credentials:
    """What was found in a picture."""

    manifest_id: str
    is_valid: bool  # the signature fits the picture as it is; who signed may be unknown
    is_trusted: bool  # by a root that the reader was told of
    issuer: str | None  # what the certificate calls itself
    is_generated: bool
    bindings: Mapping[str, str]  # algorithm -> value


class Signer:
    """Signs pictures with one key."""

    def __init__(self, key_path: str) -> None:
        """Reads a key in PEM, Ed25519 or on a NIST curve, and `KEY.chain.pem` beside it.

        Raises:
            UserError: they cannot be read, do not belong together, or c2pa-python is not installed.
        """
        self._c2pa = require("c2pa", MISSING)
        chain = read_bytes(key_path + CHAIN_ENDING, "the key's certificates")
        if os.stat(key_path).st_mode & 0o077:
            raise UserError(f"{key_path} may be read by others; run: chmod 600 {key_path}")
        try:
            key = serialization.load_pem_private_key(read_bytes(key_path, "the key"), None)
        except (ValueError, TypeError) as error:
            raise UserError(f"{key_path} is no key in PEM without a password") from error
        if isinstance(key, ed25519.Ed25519PrivateKey):
            name, sign = "ED25519", key.sign
        elif isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size in _HASHES:
            name, sign = f"ES{_HASHES[key.key_size].name[3:]}", _raw_ecdsa(key)
        else:
            raise UserError(f"{key_path} is neither an Ed25519 key nor one on P-256, P-384, P-521")
        try:
            self._signer = self._c2pa.Signer.from_callback(
                sign, self._c2pa.C2paSigningAlg[name], chain.decode(), None
            )
        except (self._c2pa.C2paError, UnicodeError) as error:
            raise UserError(f"{key_path}{CHAIN_ENDING} is no chain of certificates") from error
        self._context = self._c2pa.Context(self._c2pa.Settings.from_dict(_SETTINGS))

    def sign(self, content: bytes, kind: str, origin: Origin) -> bytes:
        """A picture's file with a manifest in it; the pixels are as they were.

        Args:
            content: of the file.
            kind: "image/png", "image/jpeg" or another that C2PA knows.
            origin: what the manifest says.

        Raises:
            UserError: the certificates do not fit the key, or are none that C2PA admits.
        """
        signed = io.BytesIO()
        try:
            builder = self._c2pa.Builder(json.dumps(_manifest(origin)), self._context)
            builder.sign(self._signer, kind, io.BytesIO(content), signed)
        except self._c2pa.C2paError as error:
            raise UserError(f"{origin.title}: cannot be signed for C2PA: {error}") from error
        return signed.getvalue()


def _raw_ecdsa(key: ec.EllipticCurvePrivateKey) -> Any:
    """ECDSA as COSE wants it: r and s side by side."""
    from_der, size = utils.decode_dss_signature, (key.key_size + 7) // 8

    def sign(data: bytes) -> bytes:
        der = key.sign(data, ec.ECDSA(_HASHES[key.key_size]))
        return b"".join(number.to_bytes(size, "big") for number in from_der(der))

    return sign


def _manifest(origin: Origin) -> dict[str, Any]:
    action = {
        "action": "c2pa.created",
        "when": origin.time,
        "digitalSourceType": _GENERATED,
        "softwareAgent": {"name": origin.model},
    }
    assertions = [{"label": "c2pa.actions", "data": {"actions": [action]}}]
    if origin.handle is not None:
        blocks = [{"scope": {}, "value": origin.handle}]
        data: dict[str, Any] = {"alg": origin.alg, "blocks": blocks}
        assertions.append({"label": "c2pa.soft-binding", "data": data})
    return {
        "claim_generator_info": [{"name": "gan-fingerprints"}],
        "title": origin.title,
        "assertions": assertions,
    }


def read_credentials(content: bytes, kind: str, anchors: str | None = None) -> Credentials | None:
    """What a picture's C2PA manifest says; None if there is none, or nothing that can be read.

    Args:
        content: of the file.
        kind: as in `Signer.sign`.
        anchors: certificates in PEM that are trusted; None: none are.

    Raises:
        UserError: c2pa-python is not installed.
    """
    c2pa = require("c2pa", MISSING)
    settings = dict(_SETTINGS)
    if anchors is not None:
        settings["trust"] = {"user_anchors": anchors}
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    try:
        reader = c2pa.Reader(kind, io.BytesIO(content), context=context)
        state, found = reader.get_validation_state(), json.loads(reader.json())
    except (c2pa.C2paError, ValueError):
        return None
    name = found.get("active_manifest")
    active = found.get("manifests", {}).get(name)
    if active is None:
        return None
    by_label = [(a.get("label"), a.get("data")) for a in active.get("assertions", [])]
    actions = [
        action
        for label, data in by_label
        if label in _ACTIONS and isinstance(data, dict)
        for action in data.get("actions", [])
    ]
    bindings = {
        str(data.get("alg")): str(block.get("value"))
        for label, data in by_label
        if str(label).partition("__")[0] == "c2pa.soft-binding" and isinstance(data, dict)
        for block in data.get("blocks", [])
    }
    return Credentials(
        manifest_id=str(name),
        is_valid=state in ("Valid", "Trusted"),
        is_trusted=state == "Trusted",
        issuer=active.get("signature_info", {}).get("issuer"),
        is_generated=any(action.get("digitalSourceType") == _GENERATED for action in actions),
        bindings=bindings,
    )


def agreement(found: Credentials | None, handle: str | None, is_ours: bool, alg: str) -> str | None:
    """Whether what a picture says and what its pixels say are the same.

    Args:
        found: in the picture.
        handle: of the fingerprint that the verdict names; None: it names none.
        is_ours: whether the verdict is that the picture is ours.
        alg: of our soft bindings.

    Returns:
        `agree`: a valid manifest names the fingerprint in the pixels. `contradict`: it names
        another one, or the pixels have none. `invalid`: the signature does not fit. `not bound`:
        the manifest names none, or the pixels have one that is nobody's for sure. None: no
        manifest.
    """
    if found is None:
        return None
    if not found.is_valid:
        return "invalid"
    claimed = found.bindings.get(alg)
    if claimed is None or (is_ours and handle is None):
        return "not bound"
    return "agree" if claimed == handle else "contradict"

"""C2PA manifests, read back by c2pa-python's own reader."""

import datetime
import io
import json

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from dnnlib.errors import UserError
from fingerprints.handles import SOFT_BINDING
from fingerprints.provenance.c2pa_manifest import (
    Credentials,
    Origin,
    Signer,
    agreement,
    read_credentials,
)
from fingerprints.provenance.certificates import CHAIN_ENDING, write_c2pa_key

c2pa = pytest.importorskip("c2pa", reason="C2PA needs requirements/c2pa.txt")

ORIGIN = Origin("a.png", "model 0123", "2026-01-02T03:04:05Z", "fp-abc")
KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("key") / "c2pa.key"
    write_c2pa_key(path, "Acme")
    return str(path)


def picture(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("kind", KINDS)
def test_signed_picture_is_accepted_by_the_reader(key, kind) -> None:
    content = picture(kind)
    signed = Signer(key).sign(content, KINDS[kind], ORIGIN)
    assert np.array_equal(pixels(signed), pixels(content))
    reader = c2pa.Reader(KINDS[kind], io.BytesIO(signed))
    assert reader.get_validation_state() == "Valid"
    found = json.loads(reader.json())
    active = found["manifests"][found["active_manifest"]]
    by_label = {one["label"]: one["data"] for one in active["assertions"]}
    (action,) = by_label["c2pa.actions.v2"]["actions"]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["when"] == ORIGIN.time
    assert by_label["c2pa.soft-binding"]["alg"] == SOFT_BINDING
    assert by_label["c2pa.soft-binding"]["blocks"][0]["value"] == "fp-abc"
    assert "thumbnail" not in active


def test_read_back(key) -> None:
    signed = Signer(key).sign(picture("PNG"), "image/png", ORIGIN)
    found = read_credentials(signed, "image/png")
    assert found is not None
    assert (found.is_valid, found.is_trusted, found.is_generated) == (True, False, True)
    assert (found.issuer, found.bindings) == ("Acme", {SOFT_BINDING: "fp-abc"})
    with open(key + CHAIN_ENDING) as file:
        root = "-----BEGIN" + file.read().rpartition("-----BEGIN")[2]
    trusted = read_credentials(signed, "image/png", root)
    assert trusted is not None
    assert trusted.is_trusted


def test_other_pixels_under_the_same_manifest(key) -> None:
    signed = bytearray(Signer(key).sign(picture("PNG"), "image/png", ORIGIN))
    signed[-30] ^= 1
    found = read_credentials(bytes(signed), "image/png")
    assert found is None or not found.is_valid


@pytest.mark.parametrize("content", [b"", b"no picture", picture("PNG"), picture("PNG")[:99]])
def test_without_a_manifest(content) -> None:
    assert read_credentials(content, "image/png") is None


def test_key_on_a_curve(key, tmp_path) -> None:
    """As authorities issue them: ES256, with a chain of two."""
    own, root_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    with open(key + CHAIN_ENDING, "rb") as file:
        leaf, root = x509.load_pem_x509_certificates(file.read())
    made = []
    for old, public in ((leaf, own), (root, root_key)):
        builder = (
            x509.CertificateBuilder(old.issuer, old.subject, public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(old.not_valid_before_utc)
            .not_valid_after(old.not_valid_before_utc + datetime.timedelta(days=9))
        )
        for extension in old.extensions:
            value = extension.value
            if isinstance(value, x509.SubjectKeyIdentifier):
                value = x509.SubjectKeyIdentifier.from_public_key(public.public_key())
            elif isinstance(value, x509.AuthorityKeyIdentifier):
                issuer = root_key.public_key()
                value = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
            builder = builder.add_extension(value, extension.critical)
        made.append(builder.sign(root_key, hashes.SHA256()))
    path = tmp_path / "es256.key"
    path.touch(0o600)
    path.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in made)
    (tmp_path / f"es256.key{CHAIN_ENDING}").write_bytes(chain)
    signed = Signer(str(path)).sign(picture("PNG"), "image/png", ORIGIN)
    found = read_credentials(signed, "image/png")
    assert found is not None
    assert found.is_valid


def test_mistakes(key, tmp_path) -> None:
    with pytest.raises(UserError, match="certificates"):
        Signer(str(tmp_path / "missing.key"))
    path = tmp_path / "a.key"
    path.touch(0o600)
    path.write_text("no key")
    (tmp_path / f"a.key{CHAIN_ENDING}").write_text("none")
    with pytest.raises(UserError, match="no key in PEM"):
        Signer(str(path))


@pytest.mark.parametrize(
    ("valid", "claimed", "handle", "is_ours", "expected"),
    [
        (True, "fp-a", "fp-a", True, "agree"),
        (True, "fp-a", "fp-b", True, "contradict"),
        (True, "fp-a", None, False, "contradict"),
        (True, "fp-a", None, True, "not bound"),
        (True, None, "fp-a", True, "not bound"),
        (False, "fp-a", "fp-a", True, "invalid"),
    ],
)
def test_agreement(valid, claimed, handle, is_ours, expected) -> None:
    bindings = {} if claimed is None else {SOFT_BINDING: claimed}
    found = Credentials("urn:x", valid, False, "Acme", True, bindings)
    assert agreement(found, handle, is_ours, SOFT_BINDING) == expected
    assert agreement(None, handle, is_ours, SOFT_BINDING) is None

"""Key files: what they hold, who may read them, what is refused."""

import os
import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from dnnlib.errors import UserError
from fingerprints import keys


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("kind", "num_bytes"), [("registry", 64), ("payload", 32)])
def test_secret_is_random_and_read_back(tmp_path: Path, kind: str, num_bytes: int) -> None:
    found = []
    for name in ("one", "two"):
        assert keys.write_key(tmp_path / name, kind) == [tmp_path / name]
        assert mode(tmp_path / name) == 0o600
        found.append(keys.load_secret(tmp_path / name, kind))
        assert found[-1].hex() in (tmp_path / name).read_text()
    assert [len(key) for key in found] == [num_bytes, num_bytes]
    assert found[0] != found[1]


def test_signing_key_has_a_public_half_that_verifies(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert keys.write_key(path, "signing") == [path, tmp_path / "key.pub"]
    assert (mode(path), mode(tmp_path / "key.pub")) == (0o600, 0o644)
    signature = keys.load_signing_key(path).sign(b"text")
    keys.load_public_key(tmp_path / "key.pub").verify(signature, b"text")


def test_key_is_private_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    real_open = os.open

    def watched(path: object, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)  # type: ignore[arg-type]
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    old = os.umask(0)
    try:
        keys.write_key(tmp_path / "key", "registry")
    finally:
        os.umask(old)
    assert modes == [0o600]  # from the first moment on


@pytest.mark.parametrize("kind", keys.KINDS)
def test_no_key_is_overwritten(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    path.write_text("mine")
    with pytest.raises(UserError, match="key exists already, and keys are not overwritten"):
        keys.write_key(path, kind)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_no_public_key_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("mine")
    with pytest.raises(UserError, match="key.pub exists already"):
        keys.write_key(tmp_path / "key", "signing")
    assert [p.name for p in tmp_path.iterdir()] == ["key.pub"]


def test_failed_write_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write .*absent/key: No such file"):
        keys.write_key(tmp_path / "absent" / "key", "registry")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_key_that_others_may_read_is_refused(tmp_path: Path, bits: int) -> None:
    for kind, load in (
        ("signing", keys.load_signing_key),
        ("registry", lambda path: keys.load_secret(path, "registry")),
    ):
        path = tmp_path / kind
        keys.write_key(path, kind)
        path.chmod(bits)
        with pytest.raises(UserError, match=f"{bits:04o}.*; run: chmod 600 {path}$"):
            load(path)
        path.chmod(0o400)
        load(path)


def test_other_kinds_are_refused_by_name(tmp_path: Path) -> None:
    for kind in keys.KINDS:
        keys.write_key(tmp_path / kind, kind)
    rsa = generate_private_key(public_exponent=65537, key_size=1024)
    pem = serialization.Encoding.PEM
    private, public = tmp_path / "rsa", tmp_path / "rsa.pub"
    private.write_bytes(
        rsa.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        rsa.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "text").write_text("hello")
    for name in ("rsa", "rsa.pub", "text"):
        (tmp_path / name).chmod(0o600)
    loads = {
        "signing": keys.load_signing_key,
        "public": keys.load_public_key,
        "registry": lambda path: keys.load_secret(path, "registry"),
        "payload": lambda path: keys.load_secret(path, "payload"),
    }
    what = {
        "signing": "signing key",
        "signing.pub": "public key",
        "registry": "registry key",
        "payload": "payload key",
        "text": "not a key file",
    }
    for wanted, load in loads.items():
        for name, is_a in what.items():
            if (wanted, name) in {("signing", "signing"), ("public", "signing.pub")}:
                continue
            if wanted == name:
                continue
            if not name.endswith(".pub"):  # which others may read, and which is no secret
                (tmp_path / name).chmod(0o600)
            with pytest.raises(UserError, match=f"is (a )?{is_a}; give the path of .*, made by"):
                load(tmp_path / name)
    for load, name in ((keys.load_signing_key, "rsa"), (keys.load_public_key, "rsa.pub")):
        with pytest.raises(UserError, match="give the path of"):
            load(tmp_path / name)


def test_damaged_keys_are_refused(tmp_path: Path) -> None:
    keys.write_key(tmp_path / "registry", "registry")
    text = (tmp_path / "registry").read_text()
    (tmp_path / "registry").write_text(text[:100])
    with pytest.raises(UserError, match="a registry key has 128 hex digits, this file has 87"):
        keys.load_secret(tmp_path / "registry", "registry")
    (tmp_path / "registry").write_text("registry-key none")
    with pytest.raises(UserError, match="is a damaged registry key"):
        keys.load_secret(tmp_path / "registry", "registry")
    keys.write_key(tmp_path / "signing", "signing")
    text = (tmp_path / "signing").read_text()
    (tmp_path / "signing").write_text(re.sub(r"(?m)^M.*", "AAAA", text))
    with pytest.raises(UserError, match="is a damaged signing key"):
        keys.load_signing_key(tmp_path / "signing")
    with pytest.raises(UserError, match="cannot read the key .*absent: No such file"):
        keys.load_secret(tmp_path / "absent", "registry")


def test_unknown_kind_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a kind"):
        keys.write_key(tmp_path / "key", "door")
    with pytest.raises(ValueError, match="expected a kind"):
        keys.load_secret(tmp_path / "key", "signing")

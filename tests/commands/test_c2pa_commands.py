"""`keygen --kind=c2pa`, `generate-images --c2pa`, `verify --c2pa`."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_fingerprints
import run_generator
from dnnlib.errors import UserError
from fingerprints.handles import SOFT_BINDING
from tests.support.bulk import Place, make_place

c2pa = pytest.importorskip("c2pa", reason="C2PA needs requirements/c2pa.txt")
HANDLE = "fp-" + "a" * 32


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return make_place(tmp_path_factory.mktemp("c2pa"))


@pytest.fixture(scope="module")
def key(place) -> Path:
    path = place.folder / "c2pa.key"
    run_fingerprints.main(["keygen", "--kind=c2pa", "--organisation=Acme", str(path)])
    return path


def generate(capsys, place, *flags) -> Path:
    capsys.readouterr()
    common = [f"--network={place.network}", f"--result-dir={place.folder / 'out'}", "--seeds=0-2"]
    run_generator.main(["generate-images", *common, "--ops=reference", *flags])
    return Path(capsys.readouterr().out.strip())


def test_generated_pictures_are_signed(capsys, place, key) -> None:
    plain = generate(capsys, place)
    signed = generate(capsys, place, f"--c2pa={key}", f"--c2pa-handle={HANDLE}")
    entries = [json.loads(line) for line in (signed / "manifests.jsonl").read_text().splitlines()]
    assert [one["file"] for one in entries] == [f"seed000{i}.png" for i in range(3)]
    for entry in entries:
        path = signed / entry["file"]
        assert np.array_equal(Image.open(path), Image.open(plain / entry["file"]))
        with open(path, "rb") as file:
            reader = c2pa.Reader("image/png", file)
            found = json.loads(reader.json())
            assert reader.get_validation_state() == "Valid"
        assert found["active_manifest"] == entry["manifestId"]
        assert (entry["alg"], entry["value"]) == (SOFT_BINDING, HANDLE)

    capsys.readouterr()
    run_fingerprints.main([*place.flags("verify"), "--json", "--c2pa", str(signed), str(plain)])
    *rows, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["c2pa"] for row in rows] == ["contradict"] * 3 + [
        None
    ] * 3  # no licensee's pictures
    assert rows[0]["c2pa_issuer"] == "Acme"
    run_fingerprints.main([*place.flags("verify"), "--json", str(signed)])
    assert "c2pa" not in json.loads(capsys.readouterr().out.splitlines()[0])


def test_mistakes(capsys, place, key) -> None:
    with pytest.raises(UserError, match="handles begin with fp-"):
        generate(capsys, place, f"--c2pa={key}", "--c2pa-handle=acme")
    with pytest.raises(UserError, match="missing"):
        generate(capsys, place, "--c2pa=missing.key")
    pictures = str(place.pictures)
    with pytest.raises(UserError, match="leave --pool out"):
        run_fingerprints.main([*place.flags("verify"), "--c2pa", "--pool", pictures])
    with pytest.raises(UserError, match="give --c2pa as well"):
        run_fingerprints.main([*place.flags("verify"), "--c2pa-anchors=a.pem", pictures])

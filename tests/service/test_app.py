"""The API: verdicts as `verify` gives them, limits, keys, and what must never be in an answer."""

import hashlib
import io
import json
import logging
import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_fingerprints
from fingerprints.keys import load_public_key
from fingerprints.provenance.case_report import read_report
from fingerprints.registry.facade import Registry
from gan_fingerprints.commands.fingerprints import main
from service.answers import HIDDEN
from service.app import PAGE
from service.callers import add_key, remove_key
from tests.support.bulk import NUM_BITS, Place
from tests.support.service import picture_of, png, running, verify


def wait_for(check, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_verdicts_are_those_of_verify(place: Place, capsys) -> None:
    paths = sorted(map(str, place.pictures.rglob("*.png")))[:7]
    capsys.readouterr()
    run_fingerprints.main([*place.flags("verify"), "--json", *paths])
    *expected, _ = map(json.loads, capsys.readouterr().out.splitlines())
    with running(place, "--max-batch=4", plainly=False) as client:
        found = verify(client, *(Path(path).read_bytes() for path in paths)).json()["results"]
    assert len(found) == len(expected) == 7
    for one, two in zip(found, expected, strict=True):
        for key in set(two) - {*HIDDEN, "file", "log_head", "log_events", "registry_id"}:
            value = two[key]
            assert one[key] == (
                pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            ), key
        assert one["registry_head"] == two["log_head"]


@pytest.mark.parametrize("reveal", ["none", "handle", "licensee"])
def test_what_is_revealed(place: Place, reveal: str) -> None:
    with running(place, f"--reveal={reveal}") as client:
        response = verify(client, picture_of(place, "licensee-3"), png(np.ones((8, 8))))
    ours, other = response.json()["results"]
    assert other["verdict"] == "not-ours"
    assert "does not mean" in other["meaning"]
    assert ours["verdict"] == ("ours" if reveal == "none" else "licensee")
    assert ("licensee-3" in response.text) == (reveal == "licensee")
    assert ("handle" in ours) == (reveal != "none")
    with Registry.open(str(place.registry)) as registry:
        text = "".join(map(str, registry.fingerprints(licensee_id="licensee-3")[0].bits))
        assert registry.id not in response.text
    for secret in (text, f"{int(text, 2):08x}", "logit", "confidence"):
        assert secret not in response.text


def test_handles_are_stable_and_differ(place: Place) -> None:
    def handles() -> list[str]:
        with running(place) as client:
            found = verify(client, *(picture_of(place, f"licensee-{i}") for i in range(3)))
        return [one["handle"] for one in found.json()["results"]]

    first = handles()
    assert len(set(first)) == 3
    assert all(re.fullmatch("fp-[0-9a-f]{32}", handle) for handle in first)
    assert handles() == first


def test_registry_changes_are_seen(place: Place) -> None:
    """Fingerprints that are added or revoked count without a restart."""
    with running(place) as client:
        picture = picture_of(place, "licensee-0")
        assert verify(client, picture).json()["results"][0]["revoked"] is False
        main(["revoke", f"--registry={place.registry}", "licensee-0", "--reason=test"])
        assert verify(client, picture).json()["results"][0]["revoked"] is True

        with Registry.open(str(place.registry)) as registry:
            (model,) = registry.models()
            registry.reserve(model, [("new", "")], min_distance=8)
        new = picture_of(place, "new")
        wait_for(lambda: client.get("/v1/models").json()["models"][0]["registered"] == 6)
        answer = verify(client, new).json()["results"][0]
        assert (answer["verdict"], answer["num_keys"]) == ("licensee", 6)


def test_without_registry_there_is_no_verdict(place: Place) -> None:
    away = place.registry.with_suffix(".away")
    with running(place) as client:
        assert client.get("/readyz").status_code == 200
        place.registry.rename(away)
        wait_for(lambda: client.get("/readyz").status_code == 503)
        response = verify(client, png(np.ones((8, 8))))
        assert response.status_code == 503
        assert "verdict" not in response.json()
        assert str(place.folder) not in response.text
        assert client.get("/healthz").status_code == 200
        away.rename(place.registry)
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert verify(client, png(np.ones((8, 8)))).status_code == 200


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be large; its pixels are cut off."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    head = (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + head + png(np.ones((8, 8)))[33:]


def damaged(content: bytes) -> bytes:
    """A PNG of which a byte of the pixels is another."""
    place = content.index(b"IDAT") + 8
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


HOSTILE = [
    (b"", "empty"),
    (b"<svg onload=alert(1)>", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
    (bomb(9000, 9000), "claims 9000x9000 pixels"),
    (png(np.ones((1, 500))), "strip"),
    (png(np.random.default_rng(0).integers(0, 2, (64, 64)))[:200], "truncated"),
    (damaged(png(np.random.default_rng(0).integers(0, 2, (8, 8)))), ""),
]


def test_hostile_files(place: Place) -> None:
    """Each gets an error of its own, and the good one between them its verdict."""
    good = png(np.ones((8, 8)))
    with running(place) as client:
        response = verify(client, *(content for content, _ in HOSTILE), good)
        (alone,) = verify(client, HOSTILE[-1][0]).json()["results"]
    *bad, fine = response.json()["results"]
    for found, (_, reason) in zip(bad, HOSTILE, strict=True):
        assert reason in found["error"]
        assert "verdict" not in found
    assert fine["verdict"] == "not-ours"
    assert alone["error"] == bad[-1]["error"] != ""


def test_other_sizes_are_brought_to_the_networks(place: Place) -> None:
    with Registry.open(str(place.registry)) as registry:
        (found,) = registry.fingerprints(licensee_id="licensee-1")
    bits = np.pad(found.bits, (0, 64 - NUM_BITS)).reshape(8, 8)
    with running(place) as client:
        large = png(bits.repeat(16, 0).repeat(16, 1))
        (answer,) = verify(client, large).json()["results"]
    assert (answer["width"], answer["resized"], answer["verdict"]) == (128, True, "licensee")


def test_limits_of_a_request(place: Place) -> None:
    good = png(np.ones((8, 8)))
    with running(place, "--max-bytes=1000", "--max-files=2") as client:
        assert verify(client, bytes(1001)).status_code == 413
        assert verify(client, bytes(20_000)).status_code == 413
        assert verify(client, *[good] * 3).status_code == 413
        assert client.post("/v1/verify", content=good).status_code == 415
        assert client.post("/v1/verify", files={"other": ("a", good)}).status_code == 400
        kind = {"content-type": "multipart/form-data"}
        assert client.post("/v1/verify", content=b"x", headers=kind).status_code == 400
        kind = {"content-type": "multipart/form-data; boundary=a"}
        assert client.post("/v1/verify", content=b"--a\r\n\r\nx", headers=kind).status_code == 400
        other = b'--a\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--a--'
        assert client.post("/v1/verify", content=other, headers=kind).status_code == 400
        cut = b'--a\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx'
        assert client.post("/v1/verify", content=cut, headers=kind).status_code == 400
        url = client.post("/v1/verify", json={"url": "https://example.org/a.png"})
        assert url.status_code == 403
        assert verify(client, good, good).status_code == 200


def test_a_form_as_others_write_it(place: Place) -> None:
    """A preamble, a quoted boundary, spaces, a boundary within a picture that is none."""
    picture = png(np.ones((8, 8)), optimize=True) + b"--a b\r\n-a b--"
    head = (
        b'Content-Type: image/png\r\ncontent-disposition:form-data; filename="a;b.png"; name=files'
    )
    body = b"to be left out\r\n--a b \r\n" + head + b"\r\n\r\n" + picture + b"\r\n--a b--\r\nend"
    kind = {"content-type": 'Multipart/Form-Data; boundary="a b"'}
    with running(place) as client:
        (answer,) = client.post("/v1/verify", content=body, headers=kind).json()["results"]
    assert answer["sha256"] == hashlib.sha256(picture).hexdigest()
    assert (answer["file"], answer["verdict"]) == ("a;b.png", "not-ours")


def test_mistakes_of_our_own_are_told(place: Place, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret")

    with running(place) as client:
        monkeypatch.setattr("service.core.answer_of", fails)
        response = verify(client, png(np.ones((8, 8))))
    assert response.status_code == 500
    assert "secret" not in response.text


def test_too_many_wait(place: Place) -> None:
    good = png(np.ones((8, 8)))
    with running(place, "--queue=16", "--max-files=16") as client:
        assert verify(client, *[good] * 16).status_code == 200
    with running(place, "--queue=2", "--max-files=2", "--max-wait-ms=400") as client:
        from_threads(client, good, expected={200, 429})


def from_threads(client, picture: bytes, expected: set[int]) -> None:
    """Several requests at once; 429 has to say when to come again."""
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: verify(client, picture), range(6)))
    assert {one.status_code for one in found} == expected
    for one in found:
        if one.status_code == 429:
            assert int(one.headers["retry-after"]) >= 1
            assert "verdict" not in one.json()


@pytest.mark.parametrize("reveal", ["handle", "none"])
def test_reports(place: Place, reveal: str) -> None:
    """A signed document with what the answer tells, and no more."""
    key, path = place.folder / "signing.key", place.folder / "case.html"
    main(["keygen", str(key)])
    picture = picture_of(place, "licensee-0")

    def report(client, *contents: bytes):
        files = [("files", ("a.png", content)) for content in contents]
        return client.post("/v1/report", files=files)

    with running(place, f"--report-key={key}", f"--reveal={reveal}") as client:
        (answer,) = verify(client, picture).json()["results"]
        assert client.get("/v1/models").json()["models"][0]["reports"] is True
        response = report(client, picture)
        assert report(client, picture, picture).status_code == 400
        assert "not an image" in report(client, b"no picture").json()["error"]
    assert response.headers["content-disposition"].startswith("attachment")
    path.write_bytes(response.content)
    case = read_report(path, load_public_key(f"{key}.pub"))
    for name in ("verdict", "pvalue", "model", "decoder", "calibration", "registry_head", "sha256"):
        assert case[name] == answer[name]
    assert case["sha256"] == hashlib.sha256(picture).hexdigest()
    assert "tensorflow" in case["versions"]
    assert "licensee-0" not in response.text
    assert ("fp-" in response.text) == (reveal == "handle")
    with running(place) as client:
        assert report(client, picture).status_code == 404


def test_limit_of_an_address(place: Place) -> None:
    good = png(np.ones((8, 8)))
    with running(place, "--anonymous=3") as client:
        assert verify(client, good, good).status_code == 200
        response = verify(client, good, good)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert verify(client, good).status_code == 200


def test_keys(place: Place) -> None:
    path = str(place.folder / "callers.jsonl")
    key = add_key(path, "press", ("verify",), 5)
    watcher = add_key(path, "watcher", ("metrics",), 600)
    assert key not in Path(path).read_text()
    assert Path(path).stat().st_mode & 0o077 == 0
    good = png(np.ones((8, 8)))

    def headers(key: str) -> dict:
        return {"headers": {"Authorization": f"Bearer {key}"}}

    with running(place, f"--keys={path}", "--anonymous=0") as client:
        assert verify(client, good).status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", **headers(watcher)).status_code == 200
        assert verify(client, good, **headers(watcher)).status_code == 403
        assert verify(client, *[good] * 5, **headers(key)).status_code == 200
        assert verify(client, good, **headers(key)).status_code == 429
        remove_key(path, "press")
        wait_for(lambda: verify(client, good, **headers(key)).status_code == 401)


def test_guesses_of_keys_are_limited(place: Place) -> None:
    with running(place, "--anonymous=2") as client:
        wrong = {"headers": {"Authorization": "Bearer gf_wrong"}}
        good = png(np.ones((8, 8)))
        found = [verify(client, good, **wrong).status_code for _ in range(3)]
    assert found == [401, 401, 429]


def test_nothing_of_a_picture_is_kept(place: Place, tmp_path, monkeypatch, caplog) -> None:
    """No file is made, however large the upload, and the log has its hash alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))  # which cannot be written
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 2**21  # Starlette would spool it to a file
    caplog.set_level(logging.INFO)
    with running(place) as client:
        response = client.post("/v1/verify", files={"files": ("secret-name.png", file.getvalue())})
    (answer,) = response.json()["results"]
    assert answer["file"] == "secret-name.png"
    assert answer["sha256"] in caplog.text
    assert "secret-name" not in caplog.text
    assert "testclient" not in caplog.text  # the caller's address


def test_headers_and_page(place: Place) -> None:
    with running(place) as client:
        for path in ("/", "/page.js", "/words.js", "/page.css", "/docs", "/docs.css", "/nowhere"):
            response = client.get(path)
            assert response.status_code == (404 if path == "/nowhere" else 200), path
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe-inline" not in policy
            assert response.headers["x-content-type-options"] == "nosniff"
            assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", response.text)
        schema = client.get("/openapi.json").json()
    for path in ("/v1/verify", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics"):
        assert path in schema["paths"]
    body = schema["paths"]["/v1/verify"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in body


def test_every_language_has_every_text() -> None:
    text = (PAGE / "words.js").read_text()
    english, german = text.split("\n  de: {")
    keys = [re.findall(r'^    ("[^"]+"|\w+): ', part, re.MULTILINE) for part in (english, german)]
    assert keys[0] == keys[1]
    used = set(re.findall(r'data-word="(\w+)"', (PAGE / "index.html").read_text()))
    assert used <= set(keys[0])


def test_metrics(place: Place) -> None:
    with running(place) as client:
        verify(client, picture_of(place, "licensee-0"), b"no picture")
        text = client.get("/metrics").text
    assert 'fingerprints_verdicts_total{verdict="licensee"} 1.0' in text
    assert "fingerprints_unreadable_total 1.0" in text
    assert 'fingerprints_requests_total{path="/v1/verify",status="200"} 1.0' in text


def test_feedback(place: Place) -> None:
    path = place.folder / "feedback.jsonl"
    with running(place, f"--feedback={path}") as client:
        entry = {"sha256": "a" * 64, "verdict": "not-ours", "text": "it is yours\n"}
        response = client.post("/v1/feedback", json=entry)
        assert response.status_code == 202
        for bad in ({}, {"text": 1}, {"text": "a" * 3000}, {"sha256": "x", "text": "a"}, [1]):
            assert client.post("/v1/feedback", json=bad).status_code == 400, bad
    (line,) = path.read_text().splitlines()
    assert json.loads(line).items() >= entry.items() | {"id": response.json()["id"]}.items()
    assert path.stat().st_mode & 0o077 == 0
    with running(place) as client:
        assert client.post("/v1/feedback", json=entry).status_code == 404

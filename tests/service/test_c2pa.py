"""The service and pictures that say it themselves."""

import base64
import io
import json
import time

import pytest

from fingerprints.handles import SOFT_BINDING
from fingerprints.provenance.c2pa_manifest import Origin, Signer
from fingerprints.provenance.certificates import write_c2pa_key
from tests.support.bulk import Place
from tests.support.service import picture_of, running, verify

pytest.importorskip("c2pa", reason="C2PA needs requirements/c2pa.txt")


def sign(place: Place, content: bytes, handle: str) -> bytes:
    path = place.folder / "c2pa.key"
    if not path.exists():
        write_c2pa_key(path, "Acme")
    origin = Origin("a.png", "model", "2026-01-02T03:04:05Z", handle)
    return Signer(str(path)).sign(content, "image/png", origin)


def test_signature_and_fingerprint(place: Place) -> None:
    picture = picture_of(place, "licensee-0")
    with running(place, "--c2pa") as client:
        (plain,) = verify(client, picture).json()["results"]
        assert plain["c2pa"] is None
        true = sign(place, picture, plain["handle"])
        false = sign(place, picture, "fp-" + "0" * 32)
        agrees, contradicts = verify(client, true, false).json()["results"]
    assert (agrees["c2pa"], agrees["c2pa_issuer"]) == ("agree", "Acme")
    assert (contradicts["c2pa"], contradicts["verdict"]) == ("contradict", "licensee")


def test_manifests_are_found_again(place: Place) -> None:
    path = place.folder / "manifests.jsonl"
    path.touch()
    with running(place, f"--manifests={path}") as client:
        picture = picture_of(place, "licensee-0")
        handle = verify(client, picture).json()["results"][0]["handle"]
        entries = [
            {"manifestId": f"urn:c2pa:{i}", "alg": SOFT_BINDING, "value": handle} for i in range(3)
        ]
        path.write_text("".join(json.dumps(one) + "\n" for one in entries))
        value = base64.b64encode(handle.encode()).decode()
        query = {"alg": SOFT_BINDING, "value": value}
        for _ in range(200):
            found = client.get("/matches/byBinding", params=query).json()
            if found["matches"]:
                break
            time.sleep(0.02)
        newest = [{"manifestId": f"urn:c2pa:{i}"} for i in (2, 1, 0)]
        assert found == {"matches": newest}
        assert client.post("/matches/byBinding", json=query).json() == found
        two = client.get("/matches/byBinding", params=query | {"maxResults": 2}).json()
        assert two["matches"] == newest[:2]
        kind = {"content-type": "image/png"}
        assert client.post("/matches/byContent", content=picture, headers=kind).json() == found
        other = client.get("/matches/byBinding", params=query | {"alg": "other"})
        assert other.json() == {"matches": []}
        for bad in (query | {"value": "!"}, query | {"maxResults": 0}):
            assert client.get("/matches/byBinding", params=bad).status_code == 400
        bad_file = client.post("/matches/byContent", content=io.BytesIO(b"x").read(), headers=kind)
        assert bad_file.status_code == 400
    with running(place) as client:
        assert client.get("/matches/byBinding", params=query).status_code == 404

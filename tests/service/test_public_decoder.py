"""The decoder in the browser: the bits are TensorFlow's, and pictures stay where they are."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from fingerprints.registry.facade import Registry
from service import public_decoder
from service.app import create_app
from service.main import settings_of
from service.pictures import Pictures
from tests.support.browser import choose, find, listening, wait_for
from tests.support.bulk import NUM_BITS, Place
from tests.support.paths import ROOT
from tests.support.service import arguments, make_judging, running
from tools import browser_runtime
from training.models.functions import images_by_seed, make_decoder
from training.models.hashes import hashes_of
from training.models.snapshot import load_networks, read_snapshot

NETWORK = ROOT / "models" / "portraits-64-immunized.pkl"

READ = """
const [contents, done] = arguments;
import("/local.js").then(async (it) => {
    const read = await it.makeReader(64, 3);
    const found = [];
    for (const bytes of contents) {
        found.push((await read(new Blob([new Uint8Array(bytes)]))).logits);
    }
    done(found);
}).catch((error) => done(String(error)));
"""


@pytest.fixture
def runtime(monkeypatch, tmp_path: Path) -> Path:
    """In place of onnxruntime-web, where it is not needed."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    for name in public_decoder.RUNTIME:
        (folder / name).write_text("made up")
    monkeypatch.setattr(public_decoder, "VENDOR", folder)
    return folder


def test_off_unless_it_is_asked_for(place: Place) -> None:
    with running(place) as client:
        for path in public_decoder.PATHS:
            assert client.get(path).status_code == 404
        response = client.post("/v1/verify", json={"logits": [[0.0] * NUM_BITS]})
        assert response.status_code == 403
        assert client.get("/v1/models").json()["models"][0]["public_decoder"] is False


def test_logits_get_the_verdict_of_the_picture(place: Place, runtime: Path, monkeypatch) -> None:
    monkeypatch.setattr("service.judging.decoder_onnx", lambda network: b"model")
    with Registry.open(str(place.registry)) as registry:
        (found,) = registry.fingerprints(licensee_id="licensee-1")
    ours = 10.0 * (found.bits - 0.5)
    with running(place, "--public-decoder", "--max-files=2") as client:
        assert client.get("/decoder.onnx").content == b"model"
        for name in public_decoder.RUNTIME:
            assert client.get(f"/vendor/{name}").text == "made up"
        rows = [list(ours), [0.1] * NUM_BITS]
        first, second = client.post("/v1/verify", json={"logits": rows}).json()["results"]
        assert (first["verdict"], second["verdict"]) == ("licensee", "not-ours")
        assert first["sha256"] is None
        for bad in ([], [[]], [[1.0]], [["a"] * NUM_BITS], {}, [[1e30] * NUM_BITS], rows * 2):
            status = client.post("/v1/verify", json={"logits": bad}).status_code
            assert status == (413 if bad == rows * 2 else 400), bad
        text = json.dumps({"logits": [[float("nan")] * NUM_BITS]})
        assert client.post("/v1/verify", content=text, headers=JSON).status_code == 400


JSON = {"content-type": "application/json"}


def test_what_it_needs_is_told(place: Place, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(public_decoder, "VENDOR", tmp_path)
    with pytest.raises(UserError, match="run: make browser-decoder"):
        settings_of(arguments(place, "--public-decoder"))
    with pytest.raises(UserError, match="leave --search out"):
        settings_of(arguments(place, "--public-decoder", "--search=light"))


def test_another_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name in browser_runtime.FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = 5
            package.addfile(member, io.BytesIO(b"other"))
    with pytest.raises(UserError, match="nothing was unpacked"):
        browser_runtime.main([f"--package={path}", f"--folder={tmp_path / 'vendor'}"])
    assert not (tmp_path / "vendor").exists()
    assert browser_runtime.FILES.keys() == public_decoder.RUNTIME.keys()


# In a browser, with a network that was trained


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, np.ndarray]]:
    """The address of a service, a folder with a picture of ours, and bits."""
    if not all((public_decoder.VENDOR / name).is_file() for name in public_decoder.RUNTIME):
        pytest.skip("onnxruntime-web is not here; run: make browser-decoder")
    folder = tmp_path_factory.mktemp("portraits")
    networks, _ = read_snapshot(str(NETWORK))
    model_hash, decoder_hash = hashes_of(networks, str(NETWORK))
    with Registry.create(str(folder / "registry.db")) as registry:
        model = registry.add_model(str(model_hash), str(decoder_hash), 128, "portraits")
        (entry, *_) = registry.reserve(model, [("acme", ""), ("other", "")], min_distance=8)
    generator = load_networks(str(NETWORK), only="generator").fingerprinted
    (image,) = images_by_seed(generator, [0], entry.bits)
    Image.fromarray(image).save(folder / "ours.png")
    place = Place(folder, NETWORK, folder / "registry.db", folder)
    args = arguments(place, "--public-decoder", "--max-batch=1")
    with listening(create_app(make_judging(args, plainly=False), settings_of(args))) as address:
        yield address, folder, image


def pictures(image: np.ndarray) -> list[bytes]:
    """In the network's size and in others, with transparent parts, turned by EXIF, grey."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    large = Image.fromarray(image).resize((80, 50), Image.Resampling.BICUBIC)
    alpha = Image.fromarray(np.where(np.arange(64)[:, None, None] < 32, noise, 0).astype(np.uint8))
    alpha.putalpha(Image.fromarray(np.where(noise[..., 0] < 128, 0, 255).astype(np.uint8)))
    turned = Image.Exif()
    turned[0x0112] = 6
    made: list[tuple[Image.Image, dict[str, Any]]] = [
        (Image.fromarray(image), {}),
        (Image.fromarray(noise), {}),
        (large, {}),
        (Image.fromarray(noise).resize((9, 7)), {}),
        (alpha, {}),
        (Image.fromarray(noise), {"exif": turned.tobytes()}),
        (Image.fromarray(noise).convert("L"), {}),
    ]
    contents = []
    for picture, choices in made:
        file = io.BytesIO()
        picture.save(file, "PNG", **choices)
        contents.append(file.getvalue())
    return contents


@pytest.mark.slow  # a browser
def test_bits_are_those_of_tensorflow(portraits: Any, browser: Any) -> None:
    address, _, image = portraits
    contents = pictures(image)
    browser.get(address)
    browser.set_script_timeout(120)
    found = browser.execute_async_script(READ, [list(content) for content in contents])
    assert not isinstance(found, str), found
    decode = make_decoder(load_networks(str(NETWORK), only="decoder").decoder)
    reader = Pictures(64, 3, 1_000_000)
    expected = decode(np.stack([reader.read(content).pixels for content in contents]))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (np.array(found) > 0).tolist() == (expected > 0).tolist()


@pytest.mark.slow  # a browser
def test_pictures_stay_on_the_machine(portraits: Any, browser: Any, tmp_path: Path) -> None:
    """The page judges by bits that it has read itself, says so, and sends nothing else."""
    address, folder, _ = portraits
    (tmp_path / "none.png").write_bytes(b"no picture")
    browser.get(address)
    wait_for(lambda: find(browser, "#where").is_displayed())
    assert "Pictures stay on this machine" in find(browser, "#keeps").text
    browser.execute_script(WATCH)
    bad, ours = choose(browser, folder / "ours.png", tmp_path / "none.png", cards=2)
    assert "Made by this generator" in ours.text
    assert "on this machine" in ours.text
    assert "cannot read it as a picture" in bad.text
    (body,) = browser.execute_script("return window.sent")
    assert [len(row) for row in json.loads(body)["logits"]] == [128]
    find(browser, "#local").click()
    assert "not kept" in find(browser, "#keeps").text
    choose(browser, folder / "ours.png", cards=3)
    assert len(browser.execute_script("return window.sent")) == 2
    errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []


WATCH = """
window.sent = [];
const real = window.fetch;
window.fetch = (url, options) => {
    if (options?.method === "POST") window.sent.push(options.body);
    return real(url, options);
};
"""

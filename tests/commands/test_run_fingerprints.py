"""decode: what is read from image files, comparisons, manifests, every kind of image, errors."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import run_fingerprints
import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib.execution import PLAIN, Execution
from fingerprints.bits import format_hex
from fingerprints.detection.tails import match_pvalue
from fingerprints.image_files import find_images
from fingerprints.image_manifest import ManifestEntry, listing, read_manifest
from tests.support.paths import REFERENCE
from tests.support.tiny_networks import tiny_decoder
from training.models.functions import make_decoder
from training.models.snapshot import load_networks, save_snapshot

SNAPSHOT = REFERENCE / "snapshot_skip_resnet_32.pkl"  # 32x32, 16 bits
XLA = Execution("xla", "xla", True, "fp32")
OTHER_SNAPSHOT = REFERENCE / "snapshot_resnet_skip_16.pkl"  # 16x16, 8 bits


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """A folder that generate-images made: four images, their manifest, a grid."""
    results = tmp_path_factory.mktemp("results")
    run_generator.main(
        [
            "generate-images",
            f"--network={SNAPSHOT}",
            f"--result-dir={results}",
            "--seeds=0-3",
            "--grid",
        ]
    )
    return results / "00000-generate-images"


@pytest.fixture(scope="module")
def logits(generated) -> np.ndarray:
    """Of the four images, by the decoder itself, [4,16]."""
    images = np.stack([np.asarray(Image.open(p)) for p in sorted(generated.glob("seed*.png"))])
    floats = tf.constant(images, tf.float32) / 127.5 - 1
    _, logits = load_networks(SNAPSHOT).decoder(floats)
    return logits.numpy()


def decode(capsys, *arguments, network=SNAPSHOT) -> tuple[str, str]:
    run_fingerprints.main(["decode", f"--network={network}", *map(str, arguments)])
    output = capsys.readouterr()
    return output.out, output.err


def decode_json(capsys, *arguments, **kwargs) -> tuple[list[dict], dict]:
    """Results per image and the summary, {} if there is none."""
    out, _ = decode(capsys, "--json", *arguments, **kwargs)
    lines = [json.loads(line) for line in out.splitlines()]
    if "summary" in lines[-1]:
        return lines[:-1], lines[-1]["summary"]
    return lines, {}


def test_a_generated_folder_is_compared_with_its_manifest(capsys, generated, logits):
    results, summary = decode_json(capsys, generated, "--minibatch=3")
    truth = np.load(REFERENCE / "generated_skip_resnet_32.npz")["fingerprints"]
    matches = [int(sum((row > 0) == bits)) for row, bits in zip(logits, truth, strict=True)]
    for i, result in enumerate(results):
        assert result["file"] == str(generated / f"seed{i:04d}.png")
        assert result["fingerprint"] == format_hex(logits[i] > 0)
        assert result["num_bits"] == 16
        probability = 1 / (1 + np.exp(-np.abs(logits[i])))
        np.testing.assert_allclose(result["confidence"], probability, atol=2e-5)
        assert result["expected"] == format_hex(truth[i])
        assert result["match"] == matches[i]
        assert result["pvalue"] == match_pvalue(matches[i], 16)
    assert len(results) == 4
    assert summary == {
        "images": 4,
        "match": sum(matches),
        "num_bits": 64,
        "bit_accuracy": sum(matches) / 64,
        "resumed": 0,
    }


def test_text_says_the_same(capsys, generated):
    results, summary = decode_json(capsys, generated)
    out, err = decode(capsys, generated)
    lines = out.splitlines()
    for result, line in zip(results, lines, strict=False):
        mean, worst = np.mean(result["confidence"]), min(result["confidence"])
        assert line == (
            f"{result['file']}  {result['fingerprint']}  confidence {mean:.3f} (worst {worst:.3f})"
            f"  match {result['match']}/16  p {result['pvalue']:.1e}"
        )
    accuracy = f"{summary['bit_accuracy']:.4f}"
    assert lines[4:] == [f"bit accuracy {accuracy} ({summary['match']} of 64 bits, 4 images)"]
    assert f"comparing with {generated / 'fingerprints.jsonl'}" in err
    assert "left out 1" in err
    assert "grid.png" in err


@pytest.mark.parametrize("execution", [PLAIN, XLA], ids=lambda execution: execution.ops)
def test_decode_function_takes_any_number_of_images(logits, generated, execution):
    """Of the four with three at a time, the last is decoded among copies of it where XLA is."""
    images = np.stack([np.asarray(Image.open(p)) for p in sorted(generated.glob("seed*.png"))])
    decode_images = make_decoder(load_networks(SNAPSHOT).decoder, 3, execution)
    for n in (0, 1, 3, 4):
        assert decode_images(images[:n]).shape == (n, 16)
        np.testing.assert_allclose(decode_images(images[:n]), logits[:n], atol=1e-4)
    for wrong in (images.astype(np.float32), images[:, :16], images[0]):
        with pytest.raises(ValueError, match="expected uint8"):
            decode_images(wrong)


@pytest.mark.parametrize("ops", ["xla", "reference"])
def test_every_path_reads_the_same_bits(capsys, generated, logits, ops):
    results, _ = decode_json(capsys, generated, f"--ops={ops}", "--minibatch=3")
    assert [r["fingerprint"] for r in results] == [format_hex(row > 0) for row in logits]


def test_the_files_are_what_is_decoded(capsys, generated, logits, tmp_path):
    """Pixels that change after the image was made change the answer."""
    shutil.copytree(generated, tmp_path / "copy")
    shutil.copy(generated / "seed0002.png", tmp_path / "copy" / "seed0001.png")
    results, _ = decode_json(capsys, tmp_path / "copy" / "seed0001.png")
    assert (logits[1] > 0).tolist() != (logits[2] > 0).tolist()
    assert results[0]["fingerprint"] == format_hex(logits[2] > 0)
    truth = np.load(REFERENCE / "generated_skip_resnet_32.npz")["fingerprints"]
    assert results[0]["expected"] == format_hex(truth[1])


@pytest.mark.parametrize("spelling", ["hex", "bits"])
def test_expect_compares_every_image(capsys, generated, logits, spelling):
    bits = (logits[1] > 0).astype(int)
    text = "0x" + format_hex(bits) if spelling == "hex" else "".join(map(str, bits))
    results, summary = decode_json(capsys, f"--expect={text}", generated)
    assert [r["expected"] for r in results] == [format_hex(bits)] * 4
    assert results[1]["match"] == 16
    assert results[1]["pvalue"] == pytest.approx(2**-16)
    assert summary["match"] == sum(int(np.sum((row > 0) == bits)) for row in logits)


def test_images_without_a_manifest_are_only_decoded(capsys, generated, tmp_path):
    for seed in (0, 3):
        shutil.copy(generated / f"seed{seed:04d}.png", tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    results, summary = decode_json(capsys, tmp_path)
    assert [Path(r["file"]).name for r in results] == ["seed0000.png", "seed0003.png"]
    assert "match" not in results[0]
    assert summary == {}
    # One image without a manifest beside it is enough not to compare.
    results, summary = decode_json(capsys, tmp_path, generated)
    assert len(results) == 6
    assert summary == {}


def test_a_named_manifest_finds_images_by_name(capsys, generated, tmp_path):
    shutil.copy(generated / "seed0002.png", tmp_path)
    manifest = generated / "fingerprints.jsonl"
    results, summary = decode_json(capsys, f"--manifest={manifest}", tmp_path / "seed0002.png")
    assert results[0]["expected"] == format_hex(np.array(read_manifest(manifest)[2].bits))
    assert summary["images"] == 1
    (tmp_path / "seed0002.png").rename(tmp_path / "other.png")
    with pytest.raises(UserError, match=r"does not list other\.png"):
        decode(capsys, f"--manifest={manifest}", tmp_path / "other.png")


def test_patterns_are_expanded(generated):
    paths = find_images([str(generated / "seed000[13].png"), str(generated / "grid.png")])
    assert [path.name for path in paths] == ["seed0001.png", "seed0003.png", "grid.png"]


def test_an_overview_is_left_out(capsys, generated, tmp_path):
    """Of pictures of an instance, which have no manifest beside them."""
    for name in ("seed0000.png", "grid.png"):
        shutil.copy(generated / name, tmp_path)
    assert find_images([str(tmp_path)]) == [tmp_path / "seed0000.png"]
    assert "left out grid.png" in capsys.readouterr().err
    (tmp_path / "seed0000.png").unlink()
    assert find_images([str(tmp_path)]) == [tmp_path / "grid.png"]  # a picture of its own


def test_a_list_names_images(capsys, generated, tmp_path):
    (tmp_path / "list.txt").write_text(f"{generated / 'seed0002.png'}\n\n")
    results, _ = decode_json(capsys, generated / "seed0000.png", f"--list={tmp_path / 'list.txt'}")
    assert [Path(r["file"]).name for r in results] == ["seed0000.png", "seed0002.png"]


def test_bad_images_have_a_line_of_json(capsys, generated, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 2 images"):
        decode(capsys, "--json", "--expect=0000", tmp_path / "bad.png", generated / "seed0000.png")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["file"] == str(tmp_path / "bad.png")
    assert "cannot be read as an image" in lines[0]["error"]
    assert lines[1]["expected"] == "0000"
    assert lines[2]["summary"]["images"] == 1


def test_a_manifest_of_other_length(capsys, generated, tmp_path):
    shutil.copy(generated / "seed0000.png", tmp_path)
    manifest = tmp_path / "fingerprints.jsonl"
    manifest.unlink(missing_ok=True)
    with listing(manifest, ManifestEntry("seed0000.png", 0, (1, 0, 1))):
        pass
    with pytest.raises(UserError, match=r"lists fingerprints of 3 bits.*decodes 16"):
        decode(capsys, tmp_path, f"--manifest={manifest}")
    # Merely lying there, it does not keep anybody from decoding.
    out, err = decode(capsys, tmp_path)
    assert "match" not in out
    assert "not comparing: fingerprints.jsonl lists fingerprints of 3 bits" in err


def test_resize_is_asked_for(capsys, generated, tmp_path):
    small = generated / "seed0000.png"
    with pytest.raises(UserError, match="1 of 1 images could not be read"):
        decode(capsys, small, network=OTHER_SNAPSHOT)
    assert re.search(r"seed0000\.png: 32x32 pixels.*16x16.*--resize", capsys.readouterr().err)
    results, _ = decode_json(capsys, small, "--resize", network=OTHER_SNAPSHOT)
    with Image.open(small) as picture:
        image = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS))
    logits = make_decoder(load_networks(OTHER_SNAPSHOT).decoder)(image[None])
    assert results[0]["fingerprint"] == format_hex(logits[0] > 0)
    probability = 1 / (1 + np.exp(-np.abs(logits[0])))
    np.testing.assert_allclose(results[0]["confidence"], probability, atol=2e-5)


def test_grey_network_decodes_colour_files(capsys, generated, tmp_path):
    save_snapshot(tmp_path / "grey.pkl", E=tiny_decoder(num_channels=1), position={})
    colour = generated / "seed0000.png"
    with Image.open(colour) as picture:
        picture.convert("L").save(tmp_path / "grey.png")
    results, _ = decode_json(capsys, colour, tmp_path / "grey.png", network=tmp_path / "grey.pkl")
    assert results[0]["confidence"] == results[1]["confidence"]
    assert results[0]["num_bits"] == 6


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("text.png", b"no image", "cannot be read as an image"),
        ("empty.png", b"", "cannot be read as an image"),
        ("cut.png", None, "cannot be read as an image"),
    ],
)
def test_unreadable_files_are_named(capsys, tmp_path, generated, name, content, complaint):
    if content is None:
        content = (generated / "seed0000.png").read_bytes()[:600]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="1 of 2 images could not be read, see their lines"):
        decode(capsys, tmp_path / name, generated / "seed0001.png")
    output = capsys.readouterr()
    assert f"error: {tmp_path / name}: {complaint}" in output.err
    assert output.out.startswith(str(generated / "seed0001.png"))  # the others are decoded


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.png"], "none.png: no such file"),
        ([], "no images given; name image files, patterns or folders, or a --list"),
        (["--list=none.txt"], "cannot read the list none.txt"),
        (["no*.png"], r"no\*.png: there are no images"),
        (["."], "there are no images"),
        (["a.png", "--manifest=none.jsonl"], "cannot read the manifest none.jsonl"),
        (
            ["a.png", "--expect=ab"],
            "--expect with .*expected 16.*or 4 hex digits, got 2 hex digits",
        ),
        (["a.png", "--network=none.pkl"], "none.pkl"),
    ],
)
def test_user_errors(capsys, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    if "a.png" in arguments:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=complaint) as error:
        decode(capsys, *arguments)
    assert "\n" not in str(error.value)


def test_expect_and_manifest_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as error:
        run_fingerprints.main(["decode", "--network=x", "--expect=1", "--manifest=y", "a.png"])
    assert error.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_manifest_round_trip(tmp_path):
    entries = [ManifestEntry("a.png", 3, (1, 0, 1, 1, 0)), ManifestEntry("b.png", None, (0,) * 5)]
    path = tmp_path / "fingerprints.jsonl"
    for entry in entries:
        with listing(path, entry):
            pass
    assert json.loads(path.read_text().splitlines()[0]) == {
        "file": "a.png",
        "seed": 3,
        "fingerprint": "b0",
        "num_bits": 5,
    }
    assert read_manifest(path) == entries
    # A line that users may have edited: blank lines, keys of their own.
    path.write_text('\n{"file": "c", "fingerprint": "0x8", "num_bits": 2, "name": "Eve"}\n')
    assert read_manifest(path) == [ManifestEntry("c", None, (1, 0))]


GOOD = '{"file": "a.png", "seed": 1, "fingerprint": "f0", "num_bits": 8}'


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ('{"file": "b", "file": "c"}', "not JSON .the key 'file' stands there twice"),
        ("[1]", "expected a JSON object, got list"),
        (GOOD, "a.png is listed twice"),
        ('{"file": 1, "fingerprint": "f0", "num_bits": 8}', "'file' must be a text, got 1"),
        ('{"file": "b", "num_bits": 8}', "'fingerprint' must be a text, got None"),
        ('{"file": "b", "fingerprint": "1", "num_bits": true}', "'num_bits' must be an integer"),
        ('{"file": "b", "fingerprint": "", "num_bits": 0}', "'num_bits' must be at least 1"),
        ('{"file": "b", "fingerprint": "f", "num_bits": 8}', "expected 8 characters"),
        ('{"file": "b", "seed": "x", "fingerprint": "f", "num_bits": 4}', "'seed' must be"),
    ],
)
def test_bad_manifest_lines_are_named(tmp_path, line, complaint):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(UserError, match=rf"m\.jsonl, line 2: .*{complaint}"):
        read_manifest(path)

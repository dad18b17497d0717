"""From the first licensee to the verdict, by the commands, with the small trained model."""

import csv
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import run_fingerprints
import run_generator
from dnnlib import safe_pickle
from dnnlib.errors import UserError
from fingerprints.bits import parse_fingerprint
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector
from fingerprints.detection.tails import match_pvalue
from fingerprints.registry import drawing
from fingerprints.registry.facade import Registry
from tests.support.paths import ROOT
from training.models.snapshot import read_snapshot, save_networks

pytestmark = pytest.mark.slow

MODEL = ROOT / "models" / "portraits-32.pkl"  # 32 bits
NUM_BITS = 32


def run(capsys, command: str, *arguments) -> str:
    """What a command prints."""
    capsys.readouterr()
    run_fingerprints.main([command, *map(str, arguments)])
    return capsys.readouterr().out


def run_json(capsys, command: str, *arguments) -> list[dict]:
    return [json.loads(line) for line in run(capsys, command, "--json", *arguments).splitlines()]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[Path]:
    """A cache folder of these tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with keys, three licensees, their instances, and pictures of two of them."""
    place = tmp_path_factory.mktemp("life")
    # The same fingerprints every time: some are read with more errors than others.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(drawing.secrets, "token_bytes", np.random.default_rng(1).bytes)
    run_fingerprints.main(["keygen", str(place / "signing.key")])
    with open(place / "licensees.csv", "w", newline="") as file:
        rows = [["licensee", "name"], ["acme", "Acme Ltd."], ["bell", ""], ["core", "Core AG"]]
        csv.writer(file).writerows(rows)
    run_fingerprints.main(issue_arguments(place, f"--csv={place / 'licensees.csv'}"))
    for licensee in ("acme", "bell"):
        run_generator.main([
            "generate-images", f"--network={place / 'instances' / licensee}.pkl", "--seeds=0-5",
            f"--result-dir={place / licensee}",
        ])  # fmt: skip
    monkeypatch.undo()
    return place


def issue_arguments(place: Path, *arguments: str) -> list[str]:
    return [
        "issue", f"--network={MODEL}", f"--key={place / 'signing.key'}",
        f"--registry={place / 'fingerprints.db'}", f"--result-dir={place / 'instances'}",
        *arguments,
    ]  # fmt: skip


def flags(place: Path) -> list[str]:
    return [f"--network={MODEL}", f"--registry={place / 'fingerprints.db'}"]


def pictures(place: Path, licensee: str) -> Path:
    return place / licensee / "00000-generate-images"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """Pictures that no generator made."""
    folder = tmp_path_factory.mktemp("foreign")
    with zipfile.ZipFile(ROOT / "datasets" / "noto-emoji-32.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        for name in names[:: len(names) // 160]:
            (folder / Path(name).name).write_bytes(archive.read(name))
    return folder


def test_issuing_reads_the_network_once(place, monkeypatch, tmp_path):
    """Its hashes and its generator come from one reading of a file that may be large."""
    read = []
    original = safe_pickle.load

    def load(path, *arguments):
        read.append(str(path))
        return original(path, *arguments)

    monkeypatch.setattr(safe_pickle, "load", load)
    arguments = issue_arguments(place, "--licensee=once", f"--result-dir={tmp_path}")
    run_fingerprints.main([*arguments, f"--registry={tmp_path / 'own.db'}"])
    assert read.count(str(MODEL)) == 1


def test_pictures_are_attributed_to_their_instance(capsys, place):
    """The bits come from the registry, the pictures from files that hold no bits."""
    *results, summary = run_json(
        capsys, "verify", *flags(place), pictures(place, "acme"), pictures(place, "bell")
    )
    with Registry.open(str(place / "fingerprints.db")) as registry:
        bits = {entry.licensee: entry.bits for entry in registry.fingerprints()}
    truth = ["acme"] * 6 + ["bell"] * 6
    assert len(results) == 12
    decoded = run_json(
        capsys, "decode", f"--network={MODEL}", pictures(place, "acme"), pictures(place, "bell")
    )
    for result, owner, read in zip(results, truth, decoded, strict=True):
        matches = int(np.sum(parse_fingerprint(read["fingerprint"], NUM_BITS) == bits[owner]))
        assert result["licensee"] == owner
        assert result["verdict"] == "licensee"
        assert result["name"] == {"acme": "Acme Ltd.", "bell": "bell"}[owner]
        assert result["revoked"] is False
        assert result["matches"] == matches
        # All bits that agree leave the same p however clear they are.
        assert matches < NUM_BITS or result["exact_pvalue"] == pytest.approx(
            match_pvalue(matches, NUM_BITS, 3), rel=1e-5
        )
        assert result["exact_pvalue"] <= 1e-6
        assert not result["calibrated"]
    assert summary["summary"]["verdicts"] == {"licensee": 12}
    assert summary["summary"]["expected_false"] == pytest.approx(12e-6)
    assert summary["summary"]["wrong_name_rate"] == pytest.approx(1e-6 * 2 / 3)  # two others


def test_text_names_the_licensee(capsys, place):
    line, summary = run(
        capsys, "verify", *flags(place), pictures(place, "acme") / "seed0000.png"
    ).splitlines()
    assert line.split("  ")[1] == "licensee acme"
    assert "match 3" in line
    assert summary.startswith(
        "verdicts: 1 licensee; false ones to expect if all are foreign: 1.0e-06 at most; risk of "
        "a wrong name, per image of ours: 6.7e-07 at most; "
    )


def test_without_calibration_the_output_says_so(capsys, place):
    run_fingerprints.main(["verify", *flags(place), str(pictures(place, "acme"))])
    assert "not calibrated" in capsys.readouterr().err


def test_instances_carry_only_their_own_fingerprint(capsys, place):
    """The parent's pictures with that fingerprint, and no fingerprints.jsonl beside them."""
    assert not (pictures(place, "acme") / "fingerprints.jsonl").exists()
    with Registry.open(str(place / "fingerprints.db")) as registry:
        bits = registry.fingerprints(licensee_id="acme")[0].bits
    run_generator.main([
        "generate-images", f"--network={MODEL}", "--seeds=0-5",
        f"--result-dir={place / 'parent'}", "--fingerprint=" + "".join(map(str, bits)),
    ])  # fmt: skip
    for seed in range(6):
        name = f"seed{seed:04d}.png"
        ours = np.asarray(Image.open(pictures(place, "acme") / name)).astype(int)
        parents = np.asarray(Image.open(pictures(place, "parent") / name)).astype(int)
        assert np.abs(ours - parents).max() <= 1


def test_foreign_pictures_are_not_ours(capsys, place, foreign):
    *results, summary = run_json(capsys, "verify", *flags(place), foreign)
    assert {result["verdict"] for result in results} == {"not-ours"}
    assert summary["summary"]["images"] == len(results) >= 160


def test_a_pool_gets_one_verdict(capsys, place, foreign):
    *results, _ = run_json(
        capsys, "verify", "--pool", *flags(place), pictures(place, "bell"), foreign
    )
    assert [(result["verdict"], result["images"]) for result in results][0] == ("licensee", 6)
    assert results[0]["licensee"] == "bell"
    assert results[1]["verdict"] == "not-ours"
    assert len(results) == 2


def test_pools_of_what_is_alike_are_not_ours(capsys, place, foreign, tmp_path, monkeypatch):
    """Whatever the decoder's confidence; copies count once, also those of a licensee."""
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))  # a copy goes its own way
    shutil.copy(place / "fingerprints.db", tmp_path / "own.db")
    arguments = [f"--network={MODEL}", f"--registry={tmp_path / 'own.db'}"]
    run(capsys, "calibrate", *arguments, foreign)
    icon = np.asarray(Image.open(sorted(foreign.iterdir())[3]).convert("RGB"))
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 1, 32)[None, :, None], (32, 32, 3))
    own = np.asarray(Image.open(pictures(place, "acme") / "seed0000.png").convert("RGB"))
    kinds = {
        "copies": [icon] * 20,
        "frames": [np.clip(icon + rng.normal(0, 4, icon.shape), 0, 255) for _ in range(20)],
        "gradients": [ramp * rng.integers(150, 256, 3) for _ in range(20)],
        "constants": [np.ones((32, 32, 3)) * rng.integers(0, 256, 3) for _ in range(20)],
        "own": [own] * 5,
    }
    for kind, images in kinds.items():
        (tmp_path / kind).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / kind / f"{number:02d}.png")
    folders = [tmp_path / kind for kind in kinds]
    *results, summary = run_json(capsys, "verify", "--pool", *arguments, *folders)
    assert [r["verdict"] for r in results] == ["not-ours"] * 4 + ["licensee"]
    assert [(r["images"], r["distinct"]) for r in results] == [(20, 1)] * 4 + [(5, 1)]
    assert all("foreign ones" in r["indication"] for r in results)
    assert summary["summary"]["images"] == 85
    *singles, _ = run_json(capsys, "verify", *arguments, *folders[:4])
    assert {r["verdict"] for r in singles} == {"not-ours"}
    line = run(capsys, "verify", "--pool", *arguments, folders[3]).splitlines()[0]
    assert "constants  20 pictures, 1 distinct  not-ours  match " in line


def test_fwer_is_shared_among_the_images(capsys, place):
    *results, summary = run_json(
        capsys, "verify", "--fwer=0.06", *flags(place), pictures(place, "acme")
    )
    assert [result["level"] for result in results] == pytest.approx([0.01] * 6)
    assert summary["summary"]["expected_false"] == pytest.approx(0.06)


def test_a_suspect_is_compared_alone(capsys, place):
    image = pictures(place, "acme") / "seed0000.png"
    result, _ = run_json(capsys, "verify", "--licensee=acme", *flags(place), image)
    assert (result["licensee"], result["num_keys"]) == ("acme", 1)
    result, _ = run_json(capsys, "verify", "--licensee=bell", *flags(place), image)
    assert result["verdict"] == "not-ours"
    with pytest.raises(UserError, match="licensee nobody has no fingerprint"):
        run(capsys, "verify", "--licensee=nobody", *flags(place), image)


def test_attribute_ranks_candidates(capsys, place):
    *results, summary = run_json(capsys, "attribute", "--top=2", *flags(place),
                                 pictures(place, "bell"))  # fmt: skip
    for result in results:
        best, second = result["candidates"]
        assert best["licensee"] == result["licensee"] == "bell"
        assert best["matches"] == result["matches"]
        assert best["score"] > second["score"]
    assert summary["summary"]["images_per_second"] > 0


def test_decisions_by_bits_alone(capsys, place):
    """The same matches of the same licensees; p is the binomial tail."""
    arguments = ["attribute", *flags(place), pictures(place, "bell")]
    *soft, _ = run_json(capsys, *arguments)
    *bits, _ = run_json(capsys, *arguments, "--decision=bits")
    for clear, plain in zip(soft, bits, strict=True):
        assert (clear["decision"], plain["decision"]) == ("soft", "bits")
        assert clear["matches"] == plain["matches"]
        assert plain["exact_pvalue"] == match_pvalue(plain["matches"], NUM_BITS, 3)
        assert (clear["edit"], clear["views"]) == (None, 1)
        assert plain["candidates"][0]["score"] == 2 * plain["matches"] - NUM_BITS
    assert any(clear["pvalue"] != plain["pvalue"] for clear, plain in zip(soft, bits, strict=True))


def test_a_calibration_of_another_decoder_is_refused(place, tmp_path):
    with Registry.create(str(tmp_path / "other.db")) as registry:
        model = registry.add_model("ab" * 32, "cd" * 32, NUM_BITS, "other")
        registry.reserve(model, [("acme", "")], min_distance=1)
        wrong = Calibration.from_logits("ef" * 32, np.zeros([30, NUM_BITS]))
        registry.save_calibration(model, wrong.to_bytes(), 30)
        with pytest.raises(UserError, match="is that of another decoder; calibrate again"):
            Detector(registry, model)


def test_bad_files_do_not_stop_the_batch(capsys, place, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        run(capsys, "verify", "--json", *flags(place), tmp_path / "empty.png",
            pictures(place, "acme") / "seed0001.png")  # fmt: skip
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "cannot be read" in lines[0]["error"]
    assert lines[1]["licensee"] == "acme"


def test_manifests_are_checked(capsys, place, tmp_path):
    manifests = sorted((place / "instances").glob("*.pkl.manifest.json"))
    key = f"--public-key={place / 'signing.key.pub'}"
    assert len(manifests) == 3
    results = run_json(capsys, "verify-manifest", key, *manifests)
    assert [result["licensee"] for result in results] == ["acme", "bell", "core"]
    assert all(result["valid"] for result in results)
    # The bits are not in it, in any spelling.
    with Registry.open(str(place / "fingerprints.db")) as registry:
        bits = "".join(map(str, registry.fingerprints(licensee_id="acme")[0].bits))
    assert bits not in manifests[0].read_text()
    assert f"{int(bits, 2):08x}" not in manifests[0].read_text()
    # Another licensee's file.
    swapped = tmp_path / "acme.pkl"
    swapped.write_bytes((place / "instances" / "bell.pkl").read_bytes())
    with pytest.raises(UserError, match="1 of 1 manifests are not valid"):
        run(capsys, "verify-manifest", key, f"--instance={swapped}", manifests[0])
    assert "BAD" in capsys.readouterr().out


def test_other_formats(capsys, place, tmp_path):
    """The same fingerprint in a SavedModel and in ONNX; the manifests are those of these files."""
    results = [
        json.loads(line)
        for line in run(
            capsys, *issue_arguments(place, "--licensee=acme", "--format=onnx,savedmodel",
                                     f"--result-dir={tmp_path}", "--json")
        ).splitlines()
    ]  # fmt: skip
    assert [Path(r["file"]).name for r in results] == ["acme.onnx", "acme.savedmodel"]
    key = f"--public-key={place / 'signing.key.pub'}"
    checked = run_json(capsys, "verify-manifest", key, *(r["manifest"] for r in results))
    assert [c["file_format"] for c in checked] == ["onnx", "savedmodel"]
    session = onnxruntime.InferenceSession(results[0]["file"])
    latents = np.random.default_rng(0).standard_normal([4, 16], np.float32)
    (pixels,) = session.run(["pixels"], {"latents": latents})
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    *verdicts, _ = run_json(capsys, "verify", *flags(place), tmp_path / "*.png")
    assert [v["licensee"] for v in verdicts] == ["acme"] * 4


def test_issuing_again_gives_the_same_file(capsys, place):
    before = (place / "instances" / "core.pkl").read_bytes()
    result = json.loads(run(capsys, *issue_arguments(place, "--licensee=core", "--json")))
    assert Path(result["file"]).read_bytes() == before
    with Registry.open(str(place / "fingerprints.db")) as registry:
        assert registry.counts().fingerprints == 3


def test_calibration_and_the_rest_of_life(capsys, place, foreign):
    """Calibrate, verify again, revoke, be refused, export, audit."""
    report = run_json(capsys, "calibrate", *flags(place), foreign)[0]
    assert report["independent"] == len(list(foreign.iterdir()))
    assert report["fingerprints"] == 3
    image = pictures(place, "acme") / "seed0000.png"
    result, _ = run_json(capsys, "verify", *flags(place), image)
    assert result["calibrated"]
    assert result["pvalue"] == max(result["exact_pvalue"], result["calibrated_pvalue"])
    assert result["licensee"] == "acme"

    registry = f"--registry={place / 'fingerprints.db'}"
    assert "revoked: core" in run(capsys, "revoke", registry, "core", "--reason=contract ended")
    with pytest.raises(UserError, match="core was revoked at .*contract ended"):
        run(capsys, *issue_arguments(place, "--licensee=core"))
    rows = run_json(capsys, "list", registry)
    assert [(row["licensee"], bool(row["revoked"])) for row in rows] == [
        ("acme", False), ("bell", False), ("core", True)
    ]  # fmt: skip
    assert "core" in run(capsys, "list", registry)
    shown = run_json(capsys, "show", registry, "core")[0]
    assert shown["fingerprints"][0]["reason"] == "contract ended"
    assert "bits" not in shown["fingerprints"][0]

    table = list(csv.DictReader(run(capsys, "export", registry, "--include-bits").splitlines()))
    assert len(table) == 3
    assert len(table[0]["fingerprint"]) == NUM_BITS // 4
    assert len(json.loads(run(capsys, "export", registry, "--json"))) == 3
    run(capsys, "export", registry, "--format=json", f"--out={place / 'export.json'}")
    assert "fingerprint" not in json.loads((place / "export.json").read_text())[0]

    audit = run_json(capsys, "audit", registry)[0]
    assert audit["problems"] == []
    assert run_json(capsys, "audit", registry, f"--head={audit['head']}")[0]["problems"] == []
    with pytest.raises(UserError, match="1 problems"):
        run(capsys, "audit", registry, "--head=" + "0" * 63 + "1")


def test_issue_leaves_out_what_foreign_images_favour(capsys, place, foreign, monkeypatch):
    registry = [f"--network={MODEL}", f"--registry={place / 'favour.db'}"]
    run(capsys, "calibrate", *registry, foreign)
    asked = []

    def favoured(self, bits):
        asked.append((self.num_independent, bits.shape[1]))
        return bits[:, 0] == 1

    monkeypatch.setattr(Calibration, "favoured", favoured)
    with open(place / "many.csv", "w", newline="") as file:
        csv.writer(file).writerows([["licensee"], *([f"l{number}"] for number in range(12))])
    run(capsys, "issue", *registry, f"--key={place / 'signing.key'}",
        f"--csv={place / 'many.csv'}", f"--result-dir={place / 'many'}")  # fmt: skip
    with Registry.open(str(place / "favour.db")) as found:
        assert [entry.bits[0] for entry in found.fingerprints()] == [0] * 12
    assert asked[0] == (len(list(foreign.iterdir())), NUM_BITS)


def test_own_pictures_in_a_calibration_are_noticed(capsys, place, foreign):
    """In a registry of its own, since the calibration stays."""
    registry = place / "mixed.db"
    arguments = [f"--network={MODEL}", f"--registry={registry}"]
    run(capsys, "issue", f"--key={place / 'signing.key'}", f"--result-dir={place / 'mixed'}",
        "--licensee=dora", *arguments)  # fmt: skip
    run_generator.main([
        "generate-images", f"--network={place / 'mixed' / 'dora.pkl'}", "--seeds=0-1",
        f"--result-dir={place / 'dora'}",
    ])  # fmt: skip
    capsys.readouterr()
    own = pictures(place, "dora")
    run_fingerprints.main(["calibrate", *arguments, str(foreign), str(own)])
    error = capsys.readouterr().err
    assert "warning: 2 of these images match a registered fingerprint" in error
    assert str(own / "seed0000.png") in error
    run_fingerprints.main(["calibrate", *arguments, str(foreign)])
    assert "warning" not in capsys.readouterr().err


def test_payload_needs_no_registry(capsys, place, tmp_path):
    run(capsys, "keygen", "--kind=payload", tmp_path / "payload.key")
    key = f"--payload-key={tmp_path / 'payload.key'}"
    result = json.loads(
        run(
            capsys,
            "issue",
            f"--network={MODEL}",
            f"--key={place / 'signing.key'}",
            "--payload=9",
            key,
            f"--result-dir={tmp_path}",
            "--json",
        )  # fmt: skip
    )
    assert not list(tmp_path.glob("*.db"))
    run_generator.main([
        "generate-images", f"--network={result['file']}", "--seeds=0-3",
        f"--result-dir={tmp_path}",
    ])  # fmt: skip
    images = tmp_path / "00000-generate-images"
    *results, _ = run_json(capsys, "verify", f"--network={MODEL}", key, "--fpr=1e-4", images)
    assert {result["payload"] for result in results if result["verdict"] == "payload"} == {9}
    assert sum(result["verdict"] == "payload" for result in results) >= 3
    for result in results:
        assert (result["corrected"] is None) == (result["payload"] is None)
    # Another key reads nothing that is evidence.
    run(capsys, "keygen", "--kind=payload", tmp_path / "other.key")
    *results, _ = run_json(
        capsys, "verify", f"--network={MODEL}", f"--payload-key={tmp_path / 'other.key'}", images
    )
    assert {result["verdict"] for result in results} == {"not-ours"}


def test_an_encrypted_registry_needs_its_key(capsys, place, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    run(capsys, "keygen", "--kind=registry", tmp_path / "registry.key")
    registry = [f"--registry={tmp_path / 'secret.db'}"]
    key = [f"--registry-key={tmp_path / 'registry.key'}"]
    run(capsys, "issue", f"--network={MODEL}", f"--key={place / 'signing.key'}", *registry, *key,
        "--licensee=acme", f"--result-dir={tmp_path}")  # fmt: skip
    with pytest.raises(UserError, match="is encrypted; give its registry key"):
        run(capsys, "list", *registry)
    assert "acme" in run(capsys, "list", *registry, *key)
    result, _ = run_json(
        capsys, "verify", f"--network={MODEL}", *registry, *key,
        pictures(place, "acme") / "seed0000.png",
    )  # fmt: skip
    assert result["verdict"] == "not-ours"  # another registry, another fingerprint
    assert not list((tmp_path / "cache").rglob("*.idx"))  # no copy in the clear


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["verify", "--registry=none.db", "PICTURE"], "there is no registry none.db"),
        (["issue", "--key=none.key", "--licensee=a"], "cannot read the key none.key"),
        (["issue", "--key=KEY", "--licensee=a/b"], "'a/b' cannot be a licensee's id"),
        (["issue", "--key=KEY", "--csv=none.csv"], "cannot read --csv none.csv"),
        (["issue", "--key=KEY", "--csv=bad.csv"], "first line must name a column `licensee`"),
        (["issue", "--key=KEY", "--csv=twice.csv"], "line 3: a is listed twice"),
        (["issue", "--key=KEY", "--csv=nobody.csv"], "--csv=nobody.csv lists no licensees"),
        (["issue", "--key=KEY", "--payload=1"], "--payload needs --payload-key"),
        (["calibrate", "few"], "1 independent foreign images are too few"),
    ],
)
def test_user_errors(capsys, place, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("name\nx\n")
    (tmp_path / "twice.csv").write_text("licensee\na\na\n")
    (tmp_path / "nobody.csv").write_text("licensee\n")
    picture = pictures(place, "acme") / "seed0000.png"
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.png").write_bytes(picture.read_bytes())
    names = {"PICTURE": str(picture), "KEY": str(place / "signing.key")}
    for short, full in names.items():
        arguments = [argument.replace(short, full) for argument in arguments]
    with pytest.raises(UserError, match=complaint) as error:
        run(capsys, arguments[0], f"--network={MODEL}", *arguments[1:])
    assert "\n" not in str(error.value)
    # Nothing half-made: no instance, and no licensee in any registry.
    assert not list(tmp_path.rglob("*.pkl"))
    if (tmp_path / "fingerprints.db").exists():
        with Registry.open("fingerprints.db") as registry:
            assert registry.counts().fingerprints == 0


def test_models_that_share_a_decoder_are_told_apart(capsys, tmp_path):
    """By the whole snapshot that is given; the decoder alone would not tell."""
    networks, position = read_snapshot(MODEL)
    name, value = next(iter(networks["Gs"].variables.items()))
    networks["Gs"].variables[name] = value + np.float32(1e-3)
    other = tmp_path / "other.pkl"
    save_networks(other, networks, position)
    run_fingerprints.main(["keygen", str(tmp_path / "signing.key")])
    for model, licensee in ((MODEL, "acme"), (other, "bell")):
        run_fingerprints.main([
            "issue", f"--network={model}", f"--key={tmp_path / 'signing.key'}",
            f"--registry={tmp_path / 'r.db'}", f"--result-dir={tmp_path / licensee}",
            f"--licensee={licensee}",
        ])  # fmt: skip
        run_generator.main([
            "generate-images", f"--network={tmp_path / licensee / licensee}.pkl", "--seeds=0-1",
            f"--result-dir={tmp_path / licensee}",
        ])  # fmt: skip
    for model, licensee in ((MODEL, "acme"), (other, "bell")):
        folder = tmp_path / licensee / "00000-generate-images"
        *results, _ = run_json(
            capsys, "verify", f"--network={model}", f"--registry={tmp_path / 'r.db'}", folder
        )
        assert {result["num_keys"] for result in results} == {1}
        assert licensee in {result["licensee"] for result in results}

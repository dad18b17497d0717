"""`run_generator.py export`: files that the library writes, mistakes in one line, both programs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_generator
from dnnlib.errors import UserError
from gan_fingerprints import main as console
from gan_fingerprints.commands import export_network
from tests.support import published_loader
from tests.support.paths import REFERENCE, ROOT
from training.models.layouts import LAYOUTS
from training.models.snapshot import load_networks

SNAPSHOT = REFERENCE / "snapshot_resnet_skip_16.pkl"


def test_the_layouts_of_the_flag_are_those_of_the_library() -> None:
    assert tuple(LAYOUTS) == export_network.LAYOUTS


@pytest.mark.parametrize("layout", ["published", "npz"])
def test_it_writes_what_every_command_reads(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = [f"--network={SNAPSHOT}", f"--layout={layout}", f"--out={out}"]
    run_generator.main(["export", *flags])
    assert capsys.readouterr() == (f"{out}\n", "")
    first = out.read_bytes()
    console.main(["export-network", *flags])
    assert out.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert load_networks(out).decoder.fingerprint_size == 8

    def pictures(network: Path) -> list[bytes]:
        folder = tmp_path / "pictures"
        run_generator.main([
            "generate-images", f"--network={network}", f"--result-dir={folder}",
            "--seeds=0-1", "--ops=reference",
        ])  # fmt: skip
        made = Path(capsys.readouterr().out.splitlines()[-1])
        return [(made / f"seed000{seed}.png").read_bytes() for seed in (0, 1)]

    assert pictures(out) == pictures(SNAPSHOT)
    if layout == "published":
        E, G, D, Gs = published_loader.load(first)
        assert [network.name for network in (E, G, D, Gs)] == ["E", "G", "D", "Gs"]
    else:
        assert "Gs/G_mapping/Dense0/weight" in np.load(out).files


def test_pytorchs_layout_makes_the_pictures_of_tensorflows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = REFERENCE / "plain_skip_16_tf.pkl", tmp_path / "out.pkl"
    run_generator.main(["export", f"--network={source}", "--layout=torch", f"--out={out}"])
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{out}\n"
    assert stderr.splitlines()[-1].startswith("pictures by seed take the noise that is stored")

    def picture(network: Path, noise_mode: str) -> np.ndarray:
        run_generator.main([
            "generate-images", f"--network={network}", f"--result-dir={tmp_path / 'pictures'}",
            "--seeds=5", "--ops=reference", f"--noise-mode={noise_mode}",
        ])  # fmt: skip
        folder = Path(capsys.readouterr().out.splitlines()[-1])
        with Image.open(folder / "seed0005.png") as image:
            return np.asarray(image).astype(int)

    for mode in ("const", "none"):
        assert np.abs(picture(out, mode) - picture(source, mode)).max() <= 1


def test_mistakes(tmp_path: Path) -> None:
    model = ROOT / "models" / "portraits-32.pkl"
    for flags, wanted in (
        ([f"--network={model}", "--layout=published", f"--out={tmp_path}/o"], "lacks G and D"),
        ([f"--network={SNAPSHOT}", "--layout=npz", f"--out={SNAPSHOT}"], "is --network itself"),
        ([f"--network={SNAPSHOT}", "--layout=npz", f"--out={tmp_path}/no/o"], "cannot write"),
        ([f"--network={SNAPSHOT}", "--layout=torch", f"--out={tmp_path}/o"], "only plain Style"),
        (["--network=missing.pkl", "--layout=npz", f"--out={tmp_path}/o"], "does not exist"),
    ):
        with pytest.raises(UserError, match=wanted):
            run_generator.main(["export", *flags])
    assert not list(tmp_path.iterdir())


def test_an_unknown_layout_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_generator.main(["export", "--network=x.pkl", "--layout=onnx", "--out=x"])
    assert "--layout" in capsys.readouterr().err

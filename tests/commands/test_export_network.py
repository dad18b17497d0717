"""`run_generator.py export`: files that the library writes, mistakes in one line, both programs."""

from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.parametrize("layout", export_network.LAYOUTS)
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


def test_mistakes(tmp_path: Path) -> None:
    model = ROOT / "models" / "portraits-32.pkl"
    for flags, wanted in (
        ([f"--network={model}", "--layout=published", f"--out={tmp_path}/o"], "lacks G and D"),
        ([f"--network={SNAPSHOT}", "--layout=npz", f"--out={SNAPSHOT}"], "is --network itself"),
        ([f"--network={SNAPSHOT}", "--layout=npz", f"--out={tmp_path}/no/o"], "cannot write"),
        (["--network=missing.pkl", "--layout=npz", f"--out={tmp_path}/o"], "does not exist"),
    ):
        with pytest.raises(UserError, match=wanted):
            run_generator.main(["export", *flags])
    assert not list(tmp_path.iterdir())


def test_an_unknown_layout_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_generator.main(["export", "--network=x.pkl", "--layout=onnx", "--out=x"])
    assert "--layout" in capsys.readouterr().err

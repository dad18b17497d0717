"""Colluding licensees: what is done to files, how it is undone, and that the tables are printed."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.tflib.execution import PLAIN
from tests.support.paths import ROOT
from tools import collusion
from tools.study import collusion as study
from tools.study.aligning import align
from tools.study.collusion import ATTACKS, Target, differences
from training.models.adopted_baking import AdoptedBaker
from training.models.adopting import Original, adopt
from training.models.snapshot import save_snapshot
from training.models.spread import units_of
from training.networks.adopted import AdoptedGenerator
from training.networks.configs import DecoderConfig, StyleGAN2GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.stylegan2 import StyleGAN2Generator

BITS = np.random.default_rng(0).integers(0, 2, [10, 6]).astype(np.uint8)
SIZE = {"resolution": 8, "fmap_base": 64, "fmap_max": 8, "latent_size": 4}
MAPPING = {"dlatent_size": 5, "mapping_fmaps": 6, "mapping_layers": 3}
CLASSES = {"label_size": 3, "label_fmaps": 4, "architecture": "resnet"}


@pytest.fixture(scope="module")
def parent() -> AdoptedGenerator:
    network = StyleGAN2Generator(StyleGAN2GeneratorConfig(**SIZE, **MAPPING, **CLASSES), seed=1)
    adopted = adopt(Original(network, None, None, "theirs.pkl"), BITS.shape[1])
    rng = np.random.default_rng(5)
    for variable in adopted.named_trainables().values():
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return adopted


@pytest.fixture(scope="module")
def target(parent: AdoptedGenerator) -> Target:
    values = {name: v.numpy() for name, v in parent.named_variables().items()}
    original = {n: v for n, v in values.items() if not n.startswith("G_fingerprint/")}
    biases = tuple(name for name in original if name.endswith("/mod_bias"))
    return Target(original, biases, tuple(units_of(parent.kwargs)))


def bake(parent: AdoptedGenerator, spread: bytes | None) -> list[dict[str, np.ndarray]]:
    baker = AdoptedBaker(parent, "theirs.pkl", spread_seed=spread)
    return [baker.bake(bits).variables for bits in BITS]


def attack(name: str, files: list[dict[str, np.ndarray]], target: Target) -> dict[str, np.ndarray]:
    function, number = ATTACKS[name]
    return function(files[:number], target, np.random.default_rng(1))


def test_what_two_files_show(parent: AdoptedGenerator, target: Target) -> None:
    first, second, *_ = bake(parent, None)
    assert list(differences(first, second, target).values()) == [1.0, 0.0]
    first, second, *_ = bake(parent, b"seed")
    assert min(differences(first, second, target).values()) > 0.5


def test_whoever_knows_how_files_are_spread_brings_them_together(
    parent: AdoptedGenerator, target: Target
) -> None:
    """All of the second file is in the order and scales of the first; only biases differ."""
    plain, files = bake(parent, None), bake(parent, b"seed")
    aligned = align(files[1], files[0], target.units)
    found = differences(files[0], {n: np.float32(v) for n, v in aligned.items()}, target)
    assert found["biases that carry fingerprints"] == 1.0
    for name in aligned.keys() - set(target.biases):
        np.testing.assert_allclose(aligned[name], files[0][name], rtol=1e-5, atol=1e-6)
    # So the mean is that of the files before they were spread, in the first one's numbers.
    expected = {n: np.mean([file[n] for file in plain[:2]], axis=0) for n in plain[0]}
    made = align(attack("mean of 2, aligned", files, target), plain[0], target.units)
    for name, value in made.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


def test_what_is_written_in_place_of_biases(parent: AdoptedGenerator, target: Target) -> None:
    files = bake(parent, None)
    issued = attack("nothing", files, target)
    back = attack("biases of the original", files, target)
    for name, value in target.original.items():
        np.testing.assert_array_equal(back[name], value)
        assert (issued[name] != value).any() == (name in target.biases)
    for name in target.biases:
        mixed = attack("biases in random order in each layer", files, target)[name]
        np.testing.assert_array_equal(np.sort(mixed), np.sort(issued[name]))
        assert not attack("biases as before training", files, target)[name].any()
        noisy = attack("noise on biases, as large as 2 files differ", files, target)[name]
        assert 0 < np.abs(noisy - issued[name]).mean() < 10 * np.abs(issued[name]).mean()


def write(path: Path, parent: AdoptedGenerator) -> Path:
    decoder = DecoderConfig(**SIZE, fingerprint_size=BITS.shape[1])
    save_snapshot(path, Gs=parent, E=Decoder(decoder, seed=2))
    return path


@pytest.mark.slow
def test_tables(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    parent: AdoptedGenerator,
) -> None:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(study, "resolve_execution", lambda: PLAIN)
    network = write(tmp_path / "adopted.pkl", parent)
    flags = ["--licensees=10", "--groups=1", "--images=3"]
    collusion.main([f"--network={network}", *flags])
    text = capsys.readouterr().out
    assert text.count("\n| nothing |") == 3
    assert text.count("| biases of the original | same | ") == 1  # spread files have other places
    assert "in biases alone. Between two files differ 100.0% of biases" in text
    assert "100.0% of biases that carry fingerprints, 0.0% of all other numbers" in text


def test_what_cannot_be_measured(tmp_path: Path, parent: AdoptedGenerator) -> None:
    network = write(tmp_path / "adopted.pkl", parent)
    with pytest.raises(UserError, match="--licensees=3: up to 10 of them collude; name more"):
        collusion.main([f"--network={network}", "--licensees=3"])
    other = ROOT / "models" / "portraits-32.pkl"
    with pytest.raises(UserError, match="was not adopted; name the result of adopt"):
        collusion.main([f"--network={other}"])

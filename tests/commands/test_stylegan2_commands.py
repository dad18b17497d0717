"""Commands with plain StyleGAN2, in both layouts of its files: what they make, what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_generator
import run_metrics
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE
from tests.support.small_runs import write_images
from training.models.snapshot import load_networks

SKIP, LABELS = REFERENCE / "plain_skip_16", REFERENCE / "plain_resnet_32_labels"
FINGERPRINTED = REFERENCE / "snapshot_resnet_skip_16.pkl"


def run(capsys, tmp_path, command, network, *flags):
    options = [f"--network={network}", f"--result-dir={tmp_path}", "--ops=reference", *flags]
    run_generator.main([command, *options])
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    return Path(line), captured.err


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def pictures(folder, seeds):
    return np.stack([pixels(folder / f"seed{seed:04d}.png") for seed in seeds])


@pytest.mark.parametrize("layout", ["tf", "torch"])
@pytest.mark.parametrize(
    ("name", "reference", "flags"),
    [
        ("plain_skip_16", "plain_skip_16", []),
        ("plain_resnet_32_labels", "plain_resnet_32_class3", ["--class=3"]),
    ],
)
def test_pictures_by_seed_are_those_of_the_original_code(
    capsys, tmp_path, name, reference, layout, flags
):
    expected = np.load(REFERENCE / f"generated_{reference}_{layout}.npz")
    seeds = expected["seeds"].tolist()
    flags = [f"--seeds={','.join(map(str, seeds))}", f"--truncation-psi={expected['psi']}", *flags]
    network = REFERENCE / f"{name}_{layout}.pkl"
    folder, _ = run(capsys, tmp_path, "generate-images", network, *flags)
    assert np.abs(pictures(folder, seeds) - expected["images"]).max() <= 1
    assert not (folder / "fingerprints.jsonl").exists()
    assert f"--truncation-psi={expected['psi']}" in (folder / "log.txt").read_text()


def test_psi_and_class_decide(capsys, tmp_path):
    made = []
    for flags in (["--class=0"], ["--class=1"], ["--class=1", "--truncation-psi=0.5"]):
        folder, _ = run(
            capsys, tmp_path, "generate-images", f"{LABELS}_tf.pkl", "--seeds=1", *flags
        )
        made.append(pictures(folder, [1]))
    for first, second in zip(made, made[1:], strict=False):
        assert np.abs(first - second).max() > 10


def test_noise_modes(capsys, tmp_path):
    """`random` draws maps by seed as TensorFlow files do by default, `const` as PyTorch's do."""
    made = {}
    for layout in ("tf", "torch"):
        for mode in ("default", "random", "const", "none"):
            flags = [] if mode == "default" else [f"--noise-mode={mode}"]
            network = f"{SKIP}_{layout}.pkl"
            folder, _ = run(capsys, tmp_path, "generate-images", network, "--seeds=3,4", *flags)
            made[layout, mode] = pictures(folder, [3, 4])
    for mode in ("random", "const", "none"):
        assert np.abs(made["tf", mode] - made["torch", mode]).max() <= 1
    np.testing.assert_array_equal(made["tf", "default"], made["tf", "random"])
    np.testing.assert_array_equal(made["torch", "default"], made["torch", "const"])
    for first, second in (("random", "const"), ("const", "none"), ("none", "random")):
        assert np.abs(made["tf", first] - made["tf", second]).max() > 3


def test_noise_modes_of_fingerprinted_networks(capsys, tmp_path):
    made = {}
    for mode in ("random", "const", "none"):
        flag = f"--noise-mode={mode}"
        folder, _ = run(capsys, tmp_path, "generate-images", FINGERPRINTED, "--seeds=3", flag)
        made[mode] = pictures(folder, [3])
        assert (folder / "fingerprints.jsonl").exists()
    folder, _ = run(capsys, tmp_path, "generate-images", FINGERPRINTED, "--seeds=3")
    np.testing.assert_array_equal(pictures(folder, [3]), made["random"])
    assert np.abs(made["random"] - made["const"]).max() > 0
    assert np.abs(made["none"] - made["const"]).max() > 0


@pytest.mark.parametrize(
    ("network", "flags", "wanted"),
    [
        (f"{LABELS}_tf.pkl", [], "pictures of 5 classes; name one: --class=0 to --class=4"),
        (f"{LABELS}_torch.pkl", ["--class=5"], "--class=5 with .* its classes are 0 to 4"),
        (f"{SKIP}_tf.pkl", ["--class=0"], "it knows no classes"),
        (FINGERPRINTED, ["--class=0"], "it knows no classes"),
        (
            f"{SKIP}_torch.pkl",
            ["--fingerprint=0"],
            "this is plain StyleGAN2, which takes no fingerprint; leave the flag out",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(tmp_path, network, flags, wanted):
    flags = [f"--network={network}", f"--result-dir={tmp_path}", "--seeds=1", *flags]
    with pytest.raises(UserError, match=wanted):
        run_generator.main(["generate-images", *flags])
    assert not list(tmp_path.iterdir())


def test_what_has_no_effect_is_said(capsys, tmp_path):
    flags = ["--seeds=1", "--identical-watermark"]
    _, said = run(capsys, tmp_path, "generate-images", f"{SKIP}_tf.pkl", *flags)
    assert "--identical-watermark has no effect: plain StyleGAN2 has none" in said
    flags = ["--seeds=1", "--truncation-psi=0.5"]
    _, said = run(capsys, tmp_path, "generate-images", FINGERPRINTED, *flags)
    assert "--truncation-psi has no effect" in said


# ---- style-mixing-example


def test_mixed_styles(capsys, tmp_path):
    flags = ["--row-seeds=1,2", "--col-seeds=3,2", "--col-styles=0-1", "--truncation-psi=0.7"]
    network = f"{SKIP}_torch.pkl"
    folder, _ = run(capsys, tmp_path, "style-mixing-example", network, *flags, "--minibatch=4")
    names = {path.name for path in folder.glob("*.png")}
    own = {"1-1.png", "2-2.png", "3-3.png"}
    assert names == {"grid.png", "1-3.png", "1-2.png", "2-3.png", *own}
    # A seed's own picture is that of generate-images.
    flags = ["--seeds=1-3", "--truncation-psi=0.7"]
    plain, _ = run(capsys, tmp_path, "generate-images", network, *flags)
    found = {name: pixels(folder / name) for name in names}
    for seed in (1, 2, 3):
        difference = found[f"{seed}-{seed}.png"] - pixels(plain / f"seed{seed:04d}.png")
        assert np.abs(difference).max() <= 1
    assert np.abs(found["1-3.png"] - found["1-1.png"]).max() > 10
    assert np.abs(found["1-3.png"] - found["3-3.png"]).max() > 10
    grid = found["grid.png"]
    assert grid.shape == (48, 48, 3)
    assert not grid[:16, :16].any()
    np.testing.assert_array_equal(grid[:16, 16:32], found["3-3.png"])
    np.testing.assert_array_equal(grid[16:32, 16:32], found["1-3.png"])
    np.testing.assert_array_equal(grid[32:, :16], found["2-2.png"])
    np.testing.assert_array_equal(grid[32:, 32:], found["2-2.png"])


def test_all_styles_of_another_seed_are_its_picture_with_other_noise(capsys, tmp_path):
    flags = ["--row-seeds=1", "--col-seeds=2", "--col-styles=0-7", "--class=2"]
    network = f"{LABELS}_tf.pkl"
    folder, _ = run(capsys, tmp_path, "style-mixing-example", network, *flags)
    difference = pixels(folder / "1-2.png") - pixels(folder / "2-2.png")
    assert np.abs(difference).max() <= 1


def test_style_mixing_of_what_has_no_such_styles(tmp_path):
    flags = [f"--result-dir={tmp_path}", "--col-styles=6"]
    with pytest.raises(UserError, match="its styles carry the fingerprint"):
        run_generator.main(["style-mixing-example", f"--network={FINGERPRINTED}", *flags])
    with pytest.raises(UserError, match="--col-styles: 6 is no layer; they are 0 to 5"):
        run_generator.main(["style-mixing-example", f"--network={SKIP}_tf.pkl", *flags])


# ---- run_metrics, export


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "data" / "noise", 1000, size=16)
    return tmp_path / "data"


def measure(capsys, data_dir, network, *flags):
    result = data_dir.parent / "metrics"
    options = [f"--network={network}", f"--result-dir={result}", "--ops=reference"]
    run_metrics.main([*options, f"--data-dir={data_dir}", "--dataset=noise", *flags])
    return capsys.readouterr().out


def test_metrics_of_both_layouts_are_equal(capsys, data_dir):
    lines = [
        measure(capsys, data_dir, f"{SKIP}_{layout}.pkl", "--metrics=swd1k")
        for layout in ("tf", "torch")
    ]
    values = [float(line.rpartition("swd1k_avg")[2].split()[0]) for line in lines]
    assert values[0] == pytest.approx(values[1], rel=1e-2)
    assert values[0] > 1


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("watermark_accuracy_1k", "needs a decoder, and the network file holds none"),
        ("fingerprint_visibility1k", "compares fingerprints, and the generator takes none"),
    ],
)
def test_metrics_of_fingerprints_are_refused(capsys, data_dir, metric, wanted):
    with pytest.raises(UserError, match=wanted):
        measure(capsys, data_dir, f"{SKIP}_torch.pkl", f"--metrics={metric}")


@pytest.mark.parametrize("source", ["tf", "torch"])
@pytest.mark.parametrize("layout", ["npz", "published"])
@pytest.mark.parametrize("name", [SKIP, LABELS])
def test_export_and_back(capsys, tmp_path, name, layout, source):
    out = tmp_path / "out"
    network = f"{name}_{source}.pkl"
    run_generator.main(["export", f"--network={network}", f"--layout={layout}", f"--out={out}"])
    before, after = load_networks(network), load_networks(out)
    for slot in ("G", "D", "Gs"):
        ours, theirs = getattr(after, slot), getattr(before, slot)
        for key, variable in theirs.named_variables().items():
            np.testing.assert_array_equal(ours.named_variables()[key], variable)
    assert after.Gs.config.stored_noise == (layout == "npz" and source == "torch")

"""generate-images: pictures and fingerprints as published, files, options, errors."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import run_generator
from dnnlib import image_grid
from dnnlib.errors import UserError
from dnnlib.tflib.execution import Execution
from fingerprints.bits import format_hex
from fingerprints.image_manifest import read_manifest
from gan_fingerprints.work import credentials
from tests.support.paths import REFERENCE, ROOT
from tests.support.tiny_networks import tiny_generator
from training.models import functions, seeds
from training.models.baking import Baker, write_instance
from training.models.snapshot import load_networks, save_snapshot

SNAPSHOT = REFERENCE / "snapshot_skip_resnet_32.pkl"  # 16 bits
XLA = Execution("xla", "xla", True, "fp32")
GENERATED = {
    "generated_skip_resnet_32": "snapshot_skip_resnet_32",
    "generated_skip_resnet_32_widths_identical_watermark": "snapshot_skip_resnet_32_widths",
    "generated_resnet_skip_16_identical_latent": "snapshot_resnet_skip_16",
}


def generate(capsys, tmp_path, *arguments, network=SNAPSHOT) -> Path:
    """Runs the command; its only output is the folder that it made."""
    options = [f"--network={network}", f"--result-dir={tmp_path}", *arguments]
    run_generator.main(["generate-images", *options])
    (line,) = capsys.readouterr().out.splitlines()
    return Path(line)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        *((name, "xla") for name in GENERATED),
        ("generated_skip_resnet_32", "auto"),
        ("generated_skip_resnet_32", "reference"),
    ],
)
def test_pictures_are_the_published_ones(capsys, tmp_path, name, ops):
    """In two batches, of which the last one is not full where there are three images."""
    reference = np.load(REFERENCE / f"{name}.npz")
    folder = generate(
        capsys,
        tmp_path,
        "--seeds=" + ",".join(map(str, reference["seeds"])),
        f"--identical-latent={reference['identical_latent']}",
        f"--identical-watermark={reference['identical_watermark']}",
        "--minibatch=2",
        f"--ops={ops}",
        network=REFERENCE / f"{GENERATED[name]}.pkl",
    )
    entries = read_manifest(folder / "fingerprints.jsonl")
    assert [entry.seed for entry in entries] == reference["seeds"].tolist()
    assert [list(entry.bits) for entry in entries] == reference["fingerprints"].tolist()
    for entry, image in zip(entries, reference["images"], strict=True):
        assert entry.file == f"seed{entry.seed:04d}.png"
        difference = pixels(folder / entry.file).astype(int) - image
        assert np.abs(difference).max() <= 1


def test_the_published_command_works_as_written(capsys, tmp_path, monkeypatch):
    command = (
        "python3 run_generator.py generate-images "
        "--network=models/celeba_align_png_cropped_30k_128x128.pkl "
        "--result-dir=generated_samples/celeba_align_png_cropped_30k --seeds=0-63 "
        "--identical-latent=False --identical-watermark=False"
    )
    (tmp_path / "models").mkdir()
    shutil.copy(SNAPSHOT, tmp_path / "models" / "celeba_align_png_cropped_30k_128x128.pkl")
    monkeypatch.chdir(tmp_path)
    run_generator.main(shlex.split(command)[2:])
    folder = Path("generated_samples/celeba_align_png_cropped_30k/00000-generate-images")
    assert capsys.readouterr().out == f"{folder}\n"
    names = sorted(path.name for path in folder.iterdir())
    lists = ["_finished.txt", "fingerprints.jsonl", "log.txt"]
    assert names == [*lists, *(f"seed{seed:04d}.png" for seed in range(64))]
    assert "64 seeds, 0 to 63" in (folder / "log.txt").read_text()
    first = json.loads((folder / "fingerprints.jsonl").read_text().splitlines()[0])
    assert first.keys() == {"file", "seed", "fingerprint", "num_bits"}


def test_a_chosen_fingerprint_leaves_the_rest_of_the_draw(capsys, tmp_path):
    """With the fingerprint of seed 2 chosen, seed 2 looks as before and seed 0 does not."""
    reference = np.load(REFERENCE / "generated_skip_resnet_32.npz")
    bits = reference["fingerprints"][2]
    folder = generate(capsys, tmp_path, "--seeds=2,0", f"--fingerprint={format_hex(bits)}")
    entries = read_manifest(folder / "fingerprints.jsonl")
    assert [list(entry.bits) for entry in entries] == [bits.tolist()] * 2
    for seed, equal in ((2, True), (0, False)):
        difference = pixels(folder / f"seed{seed:04d}.png") - reference["images"][seed].astype(int)
        assert (np.abs(difference).max() <= 1) == equal


def test_shared_inputs_are_not_drawn_again():
    shapes = [(4, 4), (8, 8)]
    (batch,) = seeds.sample_by_seed(
        [9, 4],
        latent_size=6,
        fingerprint_size=5,
        noise_shapes=shapes,
        identical_latent=True,
        identical_watermark=True,
    )
    shared = np.random.RandomState(9)
    latent = shared.randn(6).astype(np.float32)
    bits = shared.randint(0, 2, 5)
    np.testing.assert_array_equal(batch.latents, [latent, latent])
    np.testing.assert_array_equal(batch.fingerprints, [bits, bits])
    noise = np.random.RandomState(4).randn(16 + 64).astype(np.float32)
    np.testing.assert_array_equal(batch.noise[0][1, :, :, 0], noise[:16].reshape(4, 4))
    np.testing.assert_array_equal(batch.noise[1][1, :, :, 0], noise[16:].reshape(8, 8))


def test_grid_shows_the_images_and_truncation_does_nothing(capsys, tmp_path):
    """All four images fit one batch here, and come out as published."""
    (tmp_path / "00006-generate-images").mkdir()
    run_generator.main(
        [
            "generate-images",
            f"--network={SNAPSHOT}",
            f"--result-dir={tmp_path}",
            "--seeds=0-2",
            "--grid",
            "--truncation-psi=0.5",
        ]
    )
    output = capsys.readouterr()
    folder = tmp_path / "00007-generate-images"
    assert output.out == f"{folder}\n"
    (line,) = output.err.splitlines()
    assert line == "--truncation-psi has no effect: these networks have no truncation"
    grid = pixels(folder / "grid.png")
    assert grid.shape == (64, 64, 3)
    np.testing.assert_array_equal(grid[32:, :32], pixels(folder / "seed0002.png"))
    assert not grid[32:, 32:].any()
    reference = np.load(REFERENCE / "generated_skip_resnet_32.npz")["images"][2].astype(int)
    assert np.abs(grid[32:, :32] - reference).max() <= 1


def test_grey_networks_give_grey_files(capsys, tmp_path):
    save_snapshot(tmp_path / "grey.pkl", Gs=tiny_generator(num_channels=1), position={})
    folder = generate(capsys, tmp_path, "--seeds=3", "--grid", network=tmp_path / "grey.pkl")
    assert pixels(folder / "seed0003.png").shape == (8, 8)


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> tuple[Path, str]:
    """An instance of SNAPSHOT and the fingerprint in it."""
    generator = load_networks(SNAPSHOT).generator
    bits = np.random.default_rng(3).integers(0, 2, generator.fingerprint_size, np.uint8)
    path = tmp_path_factory.mktemp("instance") / "acme.pkl"
    write_instance(path, Baker(generator).bake(bits))
    return path, format_hex(bits)


@pytest.mark.slow
def test_an_instance_makes_the_pictures_of_its_parent(capsys, tmp_path, instance):
    """The same seeds, hence the same latents and noise maps; and no list of fingerprints."""
    path, fingerprint = instance
    options = ["--seeds=4,0,9", "--minibatch=2", "--grid"]
    ours = generate(capsys, tmp_path, *options, network=path)
    theirs = generate(capsys, tmp_path, *options, f"--fingerprint={fingerprint}")
    names = {file.name for file in theirs.iterdir()} - {"fingerprints.jsonl"}
    assert {file.name for file in ours.iterdir()} == names
    others = {"_finished.txt", "log.txt"}
    assert len(names - others) == 4
    for name in names - others:
        difference = pixels(ours / name).astype(int) - pixels(theirs / name)
        assert np.abs(difference).max() <= 1
    plain = generate(capsys, tmp_path, *options)  # with fingerprints drawn by seed
    difference = pixels(plain / "seed0000.png").astype(int) - pixels(theirs / "seed0000.png")
    assert np.abs(difference).max() > 1


def test_flags_of_fingerprints_with_an_instance(capsys, tmp_path, instance):
    path, fingerprint = instance
    alone = generate(capsys, tmp_path, "--seeds=5", network=path)
    run_generator.main(
        [
            "generate-images",
            f"--network={path}",
            f"--result-dir={tmp_path}",
            "--seeds=5",
            "--identical-watermark",
        ]
    )
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line == "--identical-watermark has no effect: an instance has one fingerprint"
    shared = Path(output.out.strip())
    np.testing.assert_array_equal(pixels(shared / "seed0005.png"), pixels(alone / "seed0005.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        generate(
            capsys, tmp_path / "empty", "--seeds=5", f"--fingerprint={fingerprint}", network=path
        )
    assert str(caught.value) == (
        f"--fingerprint with --network={path}: this is an instance, whose fingerprint is part of "
        "its weights; leave the flag out, or name the snapshot it was made from"
    )
    assert not list((tmp_path / "empty").iterdir())


def test_an_interrupted_run_of_an_instance_leaves_no_list(tmp_path, monkeypatch, instance):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(credentials, "save_png", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_generator.main(
            [
                "generate-images",
                f"--network={instance[0]}",
                f"--result-dir={tmp_path}",
                "--seeds=0",
            ]
        )
    found = [path.name for path in (tmp_path / "00000-generate-images").iterdir()]
    assert found == ["log.txt"]


def test_an_interrupted_run_keeps_its_fingerprints(tmp_path, monkeypatch):
    save = image_grid.save_png

    def save_two(image, path):
        if path.name == "seed0002.png":
            raise KeyboardInterrupt
        save(image, path)

    monkeypatch.setattr(credentials, "save_png", save_two)
    with pytest.raises(KeyboardInterrupt):
        run_generator.main(
            ["generate-images", f"--network={SNAPSHOT}", f"--result-dir={tmp_path}", "--seeds=0-3"]
        )
    folder = tmp_path / "00000-generate-images"
    entries = read_manifest(folder / "fingerprints.jsonl")
    assert [entry.file for entry in entries] == ["seed0000.png", "seed0001.png"]
    assert all((folder / entry.file).is_file() for entry in entries)
    assert not (folder / "_finished.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("minibatch", [None, 5])
def test_a_filled_batch_makes_the_same_pictures(minibatch):
    """Three images at once, as many as there are or among five, as plain TensorFlow makes them."""
    generator = load_networks(SNAPSHOT).generator
    (inputs,) = seeds.sample_by_seed(
        [5, 6, 7],
        latent_size=generator.latent_size,
        fingerprint_size=generator.fingerprint_size,
        noise_shapes=generator.noise_shapes,
    )
    images = functions.make_generator(generator, minibatch, XLA)(inputs)
    plain = functions.make_generator(generator, minibatch)(inputs)
    assert images.shape == plain.shape == (3, 32, 32, 3)
    assert images.dtype == np.uint8
    assert np.abs(images.astype(int) - plain).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
@pytest.mark.parametrize(
    "script",
    [
        "run_generator.py generate-images --seeds=0",
        "run_fingerprints.py decode " + str(ROOT / "tests" / "data" / "README.md"),
        "run_metrics.py --metrics=watermark_accuracy_1k",
    ],
    ids=lambda script: script.partition(".")[0],
)
def test_cuda_without_a_gpu_is_one_line(tmp_path, script):
    root = ROOT
    command = [sys.executable, *script.split(), f"--network={SNAPSHOT}", "--ops=cuda"]
    command[1] = str(root / command[1])
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    *notes, line = done.stderr.splitlines()
    assert all("has no checksums" in note for note in notes)  # of a published snapshot
    assert line.startswith("error: --ops=cuda: ")
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--fingerprint=" + "01" * 16],
            r"--fingerprint.*snapshot_skip_resnet_32.*expected 16 characters 0/1 or 4 hex digits, "
            "got 32 hex digits",
        ),
        (["--fingerprint=secret"], "--fingerprint.*expected 16.*got 6 characters"),
        (["--network=missing.pkl"], "missing.pkl"),
        (["--network=gdrive:networks/x.pkl"], "gdrive:"),
    ],
)
def test_user_errors_come_before_any_folder(tmp_path, arguments, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        run_generator.main(
            [
                "generate-images",
                f"--network={SNAPSHOT}",
                f"--result-dir={tmp_path}",
                "--seeds=0",
                *arguments,
            ]
        )
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["generate-images", "--network=x.pkl"], "--seeds"),
        (["generate-images", "--seeds=0"], "--network"),
        (["generate-images", "--network=x.pkl", "--seeds=5-1"], "runs backwards"),
        (["generate-images", "--network=x.pkl", "--seeds=4294967296"], "seeds end at 4294967295"),
        (["generate-images", "--network=x.pkl", "--seeds=0", "--identical-latent=no!"], "boolean"),
        (["generate-images", "--network=x.pkl", "--seeds=0", "--minibatch=0"], "positive"),
        (["generate-images", "--network=x.pkl", "--seeds=0", "--trunc=1"], "unrecognized"),
    ],
)
def test_argument_errors_are_one_line(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as error:
        run_generator.main(arguments)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_seeds_are_taken_once_and_in_order():
    args = run_generator.build_parser().parse_args(
        ["generate-images", "--network=x.pkl", "--seeds=3,1-4,1"]
    )
    assert args.seeds == [3, 1, 2, 4]


@pytest.mark.parametrize("command", ["run_generator", "run_fingerprints"])
def test_tensorflow_is_not_needed_to_parse(command):
    code = f"import sys, {command} as c; c.build_parser(); print('tensorflow' in sys.modules)"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "False\n"

"""The commands that users' scripts call, letter by letter, on made-up data in their layout.

The data sets, the network and the Inception graph are small; the commands are not: training makes
the published networks at 128x128. The long ones are stopped by SIGINT, and what they leave is
checked.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import made_up_inception
from tests.support.paths import ROOT
from tests.support.processes import interrupt_at
from tests.support.small_runs import ticks_of
from training.data.dataset import open_dataset
from training.models.snapshot import load_networks, save_snapshot
from training.networks.configs import DecoderConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.generator import Generator

CREATE_CELEBA = (
    "python3 dataset_tool.py create_celeba datasets/celeba_align_png_cropped_30k "
    "celeba/Img/img_align_celeba_png --num_images 30000"
)
CREATE_FROM_IMAGES = (
    "python3 dataset_tool.py create_from_images datasets/lsun_bedroom_train_30k_128x128 "
    "lsun_bedroom_train --shuffle 0 --num_images 30000 --resolution 128"
)
TRAIN = (
    "python3 run_training.py --data-dir=datasets --config=config-e-Gskip-Dresnet --num-gpus=2 "
    "--dataset=celeba_align_png_cropped_30k --result-dir=results/celeba_align_png_cropped_30k "
    "--watermark-size=128 --res-modulated-range=4-128 --metrics=fid_watermark_accuracy_30k"
)
EVALUATE = (
    "python3 run_metrics.py --data-dir=datasets --metrics=fid_watermark_accuracy_30k "
    "--dataset=celeba_align_png_cropped_30k "
    "--network=models/celeba_align_png_cropped_30k_128x128.pkl "
    "--result-dir=eval/celeba_align_png_cropped_30k"
)
GENERATE = (
    "python3 run_generator.py generate-images "
    "--network=models/celeba_align_png_cropped_30k_128x128.pkl "
    "--result-dir=generated_samples/celeba_align_png_cropped_30k --seeds=0-63 "
    "--identical-latent=False --identical-watermark=False"
)
NUM_CELEBA, NUM_LSUN = 5, 6


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a checkout, with the users' data beside the code; the order of tests fills it."""
    folder = tmp_path_factory.mktemp("checkout")
    for source in [*ROOT.glob("*.py"), *(path.parent for path in ROOT.glob("*/__init__.py"))]:
        (folder / source.name).symlink_to(source)
    # `python3` is the Python of these tests, whatever else the machine has.
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (folder / "bin" / "python3").chmod(0o755)
    rng = np.random.default_rng(0)
    celeba = folder / "celeba" / "Img" / "img_align_celeba_png"
    celeba.mkdir(parents=True)
    for i in range(1, NUM_CELEBA + 1):
        pixels = rng.integers(0, 256, [218, 178, 3], np.uint8)
        Image.fromarray(pixels).save(celeba / f"{i:06d}.png")
    (folder / "lsun_bedroom_train").mkdir()
    for i, (width, height) in enumerate([(128, 128), (341, 256), (256, 300)] * (NUM_LSUN // 3)):
        pixels = rng.integers(0, 256, [height, width, 3], np.uint8)
        Image.fromarray(pixels).save(folder / "lsun_bedroom_train" / f"{i:03d}.png")
    made_up_inception.write(folder / "inception.pb")
    (folder / "models").mkdir()
    sizes = {"resolution": 128, "fmap_base": 64, "fmap_max": 4, "fingerprint_size": 128}
    save_snapshot(
        folder / "models" / "celeba_align_png_cropped_30k_128x128.pkl",
        E=Decoder(DecoderConfig(**sizes, latent_size=8), seed=1),
        Gs=Generator(
            GeneratorConfig(**sizes, latent_size=8, mapping_fmaps=8, dlatent_size=8), seed=2
        ),
    )
    return folder


def environment(workplace: Path) -> dict[str, str]:
    """Without GPUs, so that the tests do the same everywhere; with caches of their own."""
    return {
        **os.environ,
        "PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "-1",
        "GAN_FINGERPRINTS_INCEPTION": str(workplace / "inception.pb"),
        "GAN_FINGERPRINTS_CACHE": str(workplace / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(workplace: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    result = subprocess.run(
        shlex.split(command), cwd=workplace, env=environment(workplace), capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def start(workplace: Path, command: str) -> subprocess.Popen[str]:
    """Starts a command that is going to be stopped."""
    return subprocess.Popen(
        shlex.split(command), cwd=workplace, env=environment(workplace), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Whatever started the tests may ignore the signal, which processes inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def left_overs(folder: Path) -> list[Path]:
    """Files that were to be renamed."""
    return [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".part", ".claim"))]


@pytest.fixture(scope="module")
def celeba(workplace: Path) -> Path:
    result = run(workplace, CREATE_CELEBA)
    assert f"has only {NUM_CELEBA} images" in result.stderr
    return workplace / "datasets" / "celeba_align_png_cropped_30k"


def test_create_celeba(workplace: Path, celeba: Path) -> None:
    names = [f"{celeba.name}-r07-00000.tfrecords", "dataset.json"]
    assert sorted(path.name for path in celeba.iterdir()) == names
    images = list(open_dataset(celeba.parent, celeba.name).images())
    sources = sorted((workplace / "celeba" / "Img" / "img_align_celeba_png").iterdir())
    crops = [np.asarray(Image.open(path))[57:185, 25:153] for path in sources]
    order = np.arange(NUM_CELEBA)
    np.random.RandomState(123).shuffle(order)
    np.testing.assert_array_equal(images, [crops[i] for i in order])
    assert left_overs(celeba.parent) == []


def test_create_from_images(workplace: Path) -> None:
    result = run(workplace, CREATE_FROM_IMAGES)
    assert f"has only {NUM_LSUN} images" in result.stderr
    dataset = open_dataset(workplace / "datasets", "lsun_bedroom_train_30k_128x128")
    assert (dataset.num_images, dataset.resolution, dataset.num_channels) == (NUM_LSUN, 128, 3)
    images = list(dataset.images())
    # In order, and those of the right size as they are.
    for i in (0, 3):
        source = Image.open(workplace / "lsun_bedroom_train" / f"{i:03d}.png")
        np.testing.assert_array_equal(images[i], np.asarray(source))


@pytest.mark.slow
def test_generate_images(workplace: Path) -> None:
    run(workplace, GENERATE)
    folder = workplace / "generated_samples" / "celeba_align_png_cropped_30k"
    (run_dir,) = folder.iterdir()
    assert re.fullmatch(r"00000-.+", run_dir.name)
    pictures = sorted(path.name for path in run_dir.glob("*.png"))
    assert pictures == [f"seed{seed:04d}.png" for seed in range(64)]
    for name in pictures:
        assert np.asarray(Image.open(run_dir / name)).shape == (128, 128, 3)
    assert len((run_dir / "fingerprints.jsonl").read_text().splitlines()) == 64


def wait_for(workplace: Path, pattern: str, process: subprocess.Popen[str]) -> Iterator[Path]:
    """Waits until a file appears."""
    while not (found := list(workplace.glob(pattern))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    yield from found


@pytest.mark.slow
@pytest.mark.usefixtures("celeba")
def test_metrics(workplace: Path) -> None:
    """Stopped while it generates, which it does once the statistics of the reals are kept."""
    process = start(workplace, EVALUATE)
    (cached,) = wait_for(workplace, "cache/fid-reals-*.npz", process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=100)
    assert process.returncode == 130, error
    assert output == ""
    assert error.splitlines()[-1] == "interrupted"
    assert f"has {NUM_CELEBA} images, not 30000" in error
    assert np.load(cached)
    assert list((workplace / "eval" / "celeba_align_png_cropped_30k").iterdir()) == []
    assert left_overs(workplace / "cache") == []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("celeba")
def test_training(workplace: Path) -> None:
    """Stopped after the first tick, after which all is there but metrics."""
    process = start(workplace, TRAIN)
    output, error = interrupt_at(process, "tick 0 ")
    warning, last = error.splitlines()
    assert warning.startswith("warning: --num-gpus=2: ")
    assert last == "interrupted"
    (run_dir,) = (workplace / "results" / "celeba_align_png_cropped_30k").iterdir()
    assert run_dir.name == (
        "00000-celeba_align_png_cropped_30k-2gpu-config-e-Gskip-Dresnet-128bits"
    )
    found = {path.name for path in run_dir.iterdir()}
    kinds = ("arbitrary", "watermarks-same", "latents-same")
    assert {
        *(f"fakes-{kind}-init.png" for kind in kinds),
        "reals.png",
        "log.txt",
        "training_options.json",
        "network-snapshot-000000.pkl",
        "checkpoints",
        ".lock",
    } == {name for name in found if not name.startswith("events.out.tfevents.")}
    assert Image.open(run_dir / "fakes-arbitrary-init.png").size == (15 * 128, 8 * 128)
    assert ticks_of((run_dir / "log.txt").read_text())[0] == ("0", "0.0", "16")
    networks = load_networks(run_dir / "network-snapshot-000000.pkl")
    assert networks.generator.kwargs["architecture"] == "skip"
    assert networks.generator.fingerprint_size == networks.decoder.fingerprint_size == 128
    assert networks.position["num_images"] >= 16
    assert str(run_dir.relative_to(workplace)) in output

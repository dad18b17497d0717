"""The tools: cutting a snapshot for users, drawing the curves of a run, timing the phases."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from tools import plot_training, publish_model
from training.models.snapshot import load_networks, save_snapshot
from training.networks.configs import DecoderConfig, DiscriminatorConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator

SMALL = {"resolution": 8, "fmap_base": 16, "fmap_max": 4}
CODES = {"latent_size": 3, "fingerprint_size": 5}


def test_published_model_holds_average_and_decoder_alone(tmp_path: Path) -> None:
    generator = {**SMALL, **CODES, "dlatent_size": 4, "mapping_fmaps": 4}
    average = Generator(GeneratorConfig(**generator), seed=1)
    save_snapshot(
        tmp_path / "full.pkl",
        E=Decoder(DecoderConfig(**SMALL, **CODES), seed=2),
        G=Generator(GeneratorConfig(**generator), seed=3),
        D=Discriminator(DiscriminatorConfig(**SMALL), seed=4),
        Gs=average,
        position={"kimg": 7.0},
    )
    publish_model.main([str(tmp_path / "full.pkl"), str(tmp_path / "small.pkl")])
    found = load_networks(tmp_path / "small.pkl")
    assert found.G is None
    assert found.D is None
    assert found.position["kimg"] == 7.0
    latents, bits = tf.ones([1, 3]), tf.ones([1, 5])
    np.testing.assert_array_equal(found.generator(latents, bits), average(latents, bits))
    assert (tmp_path / "small.pkl").stat().st_size < (tmp_path / "full.pkl").stat().st_size


def test_curves_are_drawn_from_the_event_files(tmp_path: Path) -> None:
    run = tmp_path / "00000-run"
    with tf.summary.create_file_writer(str(run)).as_default():
        for kimg in (1, 2, 3):
            tf.summary.scalar("Progress/bit_accuracy", 0.5 + kimg / 10, step=kimg * 1000)
    scalars = plot_training.read_scalars(run)
    kimg, values = scalars["Progress/bit_accuracy"]
    assert kimg == [1, 2, 3]
    np.testing.assert_allclose(values, [0.6, 0.7, 0.8], rtol=1e-6)
    plot_training.main([str(run), "--out", str(tmp_path / "curves.png")])
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > 500


def test_curves_of_a_folder_without_events(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no events\.out\.tfevents"):
        plot_training.main([str(tmp_path)])

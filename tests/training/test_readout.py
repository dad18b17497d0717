"""What is fitted and balanced in closed form: readouts, and the sizes of what bits do."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.execution import PLAIN
from tests.support.tiny_networks import tiny_decoder, tiny_generator
from tools import balance as balance_tool
from training.balancing import balance
from training.channels import find_channel
from training.config import MAPPINGS
from training.draws import draw_inputs
from training.models.functions import make_decoder, make_images, to_uint8
from training.models.orthogonal import orthogonalise
from training.models.snapshot import load_networks, save_snapshot
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.readout import FittedReadout, fit_readout

SIZES = {"resolution": 16, "fmap_base": 32, "fmap_max": 4, "latent_size": 4}
LINEAR = MAPPINGS["linear"]
MAPS = {"style_biases": True, "map_min_log2": 3, "map_max_log2": 3, "num_maps": 2}


def faint_generator(seed: int = 1) -> Generator:
    """One whose fingerprints are small beside what latents and noise do."""
    made = tiny_generator(seed, **SIZES, **LINEAR, **MAPS)
    for name, variable in made.named_variables().items():
        if name.endswith(("mod_weight", "style_bias_weight", "map_weight")):
            variable.assign(variable * 0.05)
    return made


def pictures(generator: Generator, seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = draw_inputs(generator, tf.constant([seed, 0], tf.int64), num, 1)
    latents, bits, noise = drawn[0], drawn[1][0], generator.split_noise(drawn[2][0])
    return to_uint8(make_images(generator, latents, bits, noise)).numpy(), bits.numpy()


def visibility(generator: Generator) -> float:
    """PSNR between two fingerprints of one latent, in [-1,1], dB."""
    drawn = draw_inputs(generator, tf.constant([7, 0], tf.int64), 500, 1)
    maps = generator.split_noise(drawn[2][0])
    one, other = (
        np.clip(make_images(generator, drawn[0], bits, maps), -1, 1)
        for bits in (drawn[1][0], tf.roll(drawn[1][0], 1, 0))
    )
    return float(10 * np.log10(4 / np.mean(np.square(one - other))))


@pytest.fixture(scope="module")
def before() -> tuple[Generator, Decoder]:
    return faint_generator(), tiny_decoder(2, **SIZES | {"fingerprint_size": 4})


def fit(before: tuple[Generator, Decoder], **options: object) -> FittedReadout:
    return fit_readout(*before, 8, **{"num_images": 3000, "seed": 3, "execution": PLAIN} | options)


@pytest.fixture(scope="module")
def fitted(before: tuple[Generator, Decoder]) -> FittedReadout:
    return fit(before)


def test_a_fitted_readout_reads_what_the_decoder_did_not(
    before: tuple[Generator, Decoder], fitted: FittedReadout
) -> None:
    images, bits = pictures(before[0], 99, 1000)
    accuracy = np.mean((make_decoder(fitted.decoder)(images) > 0) == bits)
    untrained = np.mean((make_decoder(before[1])(images) > 0) == bits)
    assert untrained < 0.6
    assert accuracy > 0.95
    assert fitted.accuracy == pytest.approx(accuracy, abs=0.02)
    assert fitted.accuracy_before == pytest.approx(untrained, abs=0.05)
    # Log odds: as sure as they are right.
    logits = make_decoder(fitted.decoder)(images)
    surprise = np.mean(np.logaddexp(0, -logits * (2 * bits - 1)))
    assert surprise < -2 * np.log(accuracy) + 0.05


def test_the_decoder_that_came_stays(
    before: tuple[Generator, Decoder], fitted: FittedReadout
) -> None:
    assert before[1].readout is None
    ours, theirs = fitted.decoder.named_variables(), before[1].named_variables()
    for name, value in theirs.items():
        if not name.startswith("Output/"):
            np.testing.assert_array_equal(ours[name], value)
    images = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2], -1, 1)
    np.testing.assert_allclose(
        fitted.decoder.recover(images).latents, before[1].recover(images).latents, atol=1e-5
    )
    assert ours.keys() - theirs.keys() == {"Readout/weight", "Readout/bias"}


def test_pictures_behind_edits_are_fitted_to(before: tuple[Generator, Decoder]) -> None:
    channel = find_channel("brightness")
    images, bits = pictures(before[0], 99, 1000)
    draws = channel.draw(images.shape, tf.constant([5, 6], tf.int64), tf.constant(1.0))
    edited = channel.apply(tf.constant(images, tf.float32) / 127.5 - 1, draws).numpy()
    dark = np.clip(np.rint(127.5 * (edited + 1)), 0, 255).astype(np.uint8)
    weak = fit(before, channel=channel, strength=0.01)
    plain, immune = fit(before), fit(before, channel=channel)
    decoders = [fitted.decoder for fitted in (plain, weak, immune)]
    accuracy = [np.mean((make_decoder(decoder)(dark) > 0) == bits) for decoder in decoders]
    assert accuracy[2] > max(accuracy[:2])


def test_balance_makes_bits_equal_at_the_visibility_that_is_asked_for(
    before: tuple[Generator, Decoder],
) -> None:
    # One bit does hardly anything.
    uneven = faint_generator(4)
    weight = uneven.mapping.layers[0].weight
    weight.assign(weight * tf.constant([[1.0], [0.02], [1.0], [1.0]]))
    generators = orthogonalise([uneven])
    first = fit((generators[0], before[1]))
    result = balance(generators, first.information, 40.0, seed=1, execution=PLAIN)[0]
    assert visibility(result) == pytest.approx(40, abs=2.0)

    def spread(information: np.ndarray) -> float:
        values = np.linalg.eigvalsh(information)
        return float(values[-1] / values[0])

    assert spread(fit((result, before[1])).information) < 0.5 * spread(first.information)


def test_tool_without_a_readout(tmp_path: Path, before: tuple[Generator, Decoder]) -> None:
    """The fingerprint as a whole is made fainter; the decoder stays."""
    source, target = tmp_path / "in.pkl", tmp_path / "out.pkl"
    save_snapshot(source, E=before[1], Gs=orthogonalise([before[0]])[0], position={})
    balance_tool.main([str(source), str(target), "--readout=0", "--psnr=45"])
    found = load_networks(target)
    assert visibility(before[0]) < 43
    assert visibility(found.fingerprinted) == pytest.approx(45, abs=1.0)
    for name, value in before[1].named_variables().items():
        np.testing.assert_array_equal(found.decoder.named_variables()[name], value)


def test_tool_that_keeps_the_pictures(tmp_path: Path, before: tuple[Generator, Decoder]) -> None:
    source, target = tmp_path / "in.pkl", tmp_path / "out.pkl"
    save_snapshot(source, E=before[1], G=before[0], Gs=before[0], position={})
    balance_tool.main([str(source), str(target), "--readout=8", "--psnr=keep", "--images=4000"])
    found = load_networks(target)
    for name, value in before[0].named_variables().items():
        np.testing.assert_array_equal(found.fingerprinted.named_variables()[name], value)
    images, bits = pictures(before[0], 99, 500)
    assert np.mean((make_decoder(before[1])(images) > 0) == bits) < 0.7
    assert np.mean((make_decoder(found.decoder)(images) > 0) == bits) > 0.9
    for flags in (["--psnr=keep"], ["--immunize=jpeg"]):
        with pytest.raises(UserError, match="--readout=0 fits no layer"):
            balance_tool.main([str(source), str(target), "--readout=0", *flags])


def test_tool(tmp_path: Path, before: tuple[Generator, Decoder], capsys) -> None:
    source, target = tmp_path / "in.pkl", tmp_path / "out.pkl"
    save_snapshot(source, E=before[1], Gs=before[0], position={"kimg": 3.0})
    flags = ["--images=4000", "--readout=8", "--psnr=32", "--immunize=jpeg", "--strength=0.05"]
    balance_tool.main([str(source), str(target), *flags])
    found = load_networks(target)
    assert found.fingerprinted.config.mapping_orthogonal
    assert found.decoder.config.readout_size == 8
    images, bits = pictures(found.fingerprinted, 99, 500)
    accuracy = np.mean((make_decoder(found.decoder)(images) > 0) == bits)
    printed = float(re.search(r"Balanced: ([\d.]+) of", capsys.readouterr().out)[1])
    assert printed == pytest.approx(accuracy, abs=0.03)
    assert accuracy > 0.9
    assert found.position["kimg"] == 3.0
    with pytest.raises(UserError, match="--readout=5 does not divide 16 pixels"):
        balance_tool.main([str(source), str(target), "--readout=5"])
    save_snapshot(source, E=before[1], Gs=tiny_generator(**SIZES), position={})
    with pytest.raises(UserError, match="is not one linear layer"):
        balance_tool.main([str(source), str(target)])

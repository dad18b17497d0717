"""`run` of generators: the published outputs, minibatches, noise, transformations, mistakes."""

from typing import Any

import numpy as np
import pytest

from tests.support.paths import REFERENCE
from tests.support.tiny_networks import tiny_generator
from training.models.baking import Baker
from training.models.functions import convert_images_to_uint8, to_uint8
from training.models.snapshot import build_network, load_networks


@pytest.mark.parametrize("name", ["resnet_skip_16", "skip_resnet_32_widths"])
def test_the_published_images(name: str) -> None:
    data = np.load(REFERENCE / f"networks_{name}.npz")
    model = load_networks(REFERENCE / f"snapshot_{name}.pkl")
    assert model.G is not None
    images = model.G.run(data["latents"], data["fingerprints"], randomize_noise=False)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, data["out/images"], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def generator() -> Any:
    made = tiny_generator(seed=1)
    for name, variable in made.named_variables().items():
        if name.endswith("noise_strength"):
            variable.assign(1.0)
    return made


def inputs(number: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rnd = np.random.RandomState(0)
    return rnd.randn(number, 8), rnd.randint(0, 2, [number, 4])


def test_minibatches_change_nothing(generator: Any) -> None:
    latents, bits = inputs()
    sizes = []

    def remember(images: Any) -> Any:
        sizes.append(tuple(images.shape))
        return images

    whole = generator.run(latents, bits, randomize_noise=False)
    parts = generator.run(
        latents, bits.astype(bool), randomize_noise=False, minibatch_size=2,
        output_transform=remember,
    )  # fmt: skip
    assert whole.shape == (5, 3, 8, 8)
    assert sizes == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)


def test_noise_is_new_in_every_call_unless_it_is_the_stored_one(generator: Any) -> None:
    latents, bits = (np.repeat(values[:1], 2, axis=0) for values in inputs())
    fresh = generator.run(latents, bits)
    assert np.abs(fresh[0] - fresh[1]).max() > 0.01
    assert np.abs(fresh - generator.run(latents, bits)).max() > 0.01
    stored = generator.run(latents, bits, randomize_noise=False)
    np.testing.assert_allclose(stored[0], stored[1], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(stored, generator.run(latents, bits, randomize_noise=False))


def test_transformations(generator: Any) -> None:
    latents, bits = inputs()
    images = generator.run(latents, bits, randomize_noise=False)
    wanted = to_uint8(images).numpy()

    def run(transform: Any) -> np.ndarray:
        result: np.ndarray = generator.run(
            latents, bits, randomize_noise=False, output_transform=transform
        )
        return result

    np.testing.assert_array_equal(run(convert_images_to_uint8), wanted)
    as_published = run({"func": convert_images_to_uint8, "nchw_to_nhwc": True})
    np.testing.assert_array_equal(as_published, wanted.transpose(0, 2, 3, 1))
    assert run(lambda x: x.numpy().mean(axis=(1, 2, 3))).shape == (5,)
    for wrong in ({"nchw_to_nhwc": True}, {"func": "name"}, 5):
        with pytest.raises(ValueError, match="output_transform: expected a function"):
            run(wrong)


def test_an_instance_runs_without_fingerprints(generator: Any) -> None:
    latents, bits = inputs()
    bits[:] = bits[0]
    instance: Any = build_network(Baker(generator).bake(bits[0]), "the instance")
    np.testing.assert_allclose(
        instance.run(latents, minibatch_size=2, randomize_noise=False),
        generator.run(latents, bits, randomize_noise=False),
        rtol=0,
        atol=1e-4,
    )
    with pytest.raises(TypeError):
        instance.run(latents, bits)


def test_mistakes(generator: Any) -> None:
    latents, bits = inputs()
    for z, b, message in (
        (latents[:, 1:], bits, r"latents of shape \[N,8\].* got float64 \(5, 7\)"),
        (latents, bits[0], r"fingerprints of shape \[N,4\].* got int64 \(4,\)"),
        (latents, None, "fingerprints of shape"),
        (latents[:0], bits[:0], "N at least 1"),
        (latents.astype(str), bits, "latents of shape"),
        (latents, bits[1:], "as many rows everywhere, got latents 5, fingerprints 4"),
    ):
        with pytest.raises(ValueError, match=message):
            generator.run(z, b)
    with pytest.raises(ValueError, match="minibatch_size=0"):
        generator.run(latents, bits, minibatch_size=0)
    with pytest.raises(TypeError, match="num_gpus"):
        generator.run(latents, bits, num_gpus=2)
    with pytest.warns(UserWarning, match="truncation_psi has no effect") as warned:
        generator.run(latents, bits, truncation_psi=0.5)
    assert warned[0].filename == __file__


def test_conversion_to_uint8() -> None:
    images = np.array([-2, -1, -0.5, 0, 0.999, 1, 2], np.float32).reshape(1, 1, 1, 7)
    wanted = np.clip(np.trunc(127.5 * images + 128), 0, 255)
    np.testing.assert_array_equal(convert_images_to_uint8(images), wanted)
    unit = (images + 1) / 2
    np.testing.assert_array_equal(convert_images_to_uint8(unit, drange=[0, 1]), wanted)
    rnd = np.random.default_rng(0).uniform(-1, 1, [2, 3, 4, 8]).astype(np.float32)
    small = rnd.reshape(2, 3, 2, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(
        convert_images_to_uint8(rnd, shrink=2, nchw_to_nhwc=True),
        convert_images_to_uint8(small).numpy().transpose(0, 2, 3, 1),
    )
    for wrong in ({"shrink": 3}, {"shrink": 0}, {"drange": [1, 1]}):
        with pytest.raises(ValueError, match="shrink|range"):
            convert_images_to_uint8(rnd, **wrong)
    with pytest.raises(ValueError, match="expected images"):
        convert_images_to_uint8(rnd[0])

"""Properties of the networks, each over one table of every class in several variants."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.noise import sample_noise
from training.networks.configs import (
    DecoderConfig,
    DiscriminatorConfig,
    FeatureMaps,
    GeneratorConfig,
    PlainGeneratorConfig,
)
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.networks.layers import Network, minibatch_stddev, resolution_log2
from training.networks.plain_generator import PlainGenerator
from training.networks.table import NETWORKS, build

# Layers of every resolution differ in width: nf(0), nf(1) = 8, nf(2) = 4, nf(3) = 2.
WIDTHS = {"fmap_base": 16, "fmap_max": 8}
CODE = {"latent_size": 5, "fingerprint_size": 6}
MAPPING = {"dlatent_size": 7, "mapping_fmaps": 9, "mapping_layers": 2}


@dataclass(frozen=True)
class Case:
    """A network of the table, tiny, at 8x8 unless told otherwise."""

    class_name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def kwargs(self) -> dict[str, Any]:
        kwargs = {"resolution": 8} | WIDTHS
        if self.class_name == "StyleGAN2Generator":
            kwargs |= {"latent_size": 5} | MAPPING
        elif self.class_name == "AdoptedGenerator":
            kwargs |= CODE | MAPPING
        elif not self.class_name.endswith("Discriminator"):
            kwargs |= CODE
        if self.class_name == "Generator":
            kwargs |= MAPPING
        return kwargs | self.options

    def network(self, seed: int | None = 1) -> Network:
        """A network whose biases, noise strengths and the like are not at their initial zeros."""
        network = build(self.class_name, self.kwargs, seed=seed)
        rng = np.random.default_rng(7)
        for variable in network.named_trainables().values():
            variable.assign_add(rng.normal(0, 0.3, variable.shape) * np.std(variable) + 0.1)
        return network

    def inputs(self, batch: int) -> list[tf.Tensor]:
        rng = np.random.default_rng(batch)
        if self.class_name == "Generator":
            arrays = [rng.standard_normal([batch, 5]), rng.integers(0, 2, [batch, 6])]
            arrays += self.labels(rng, batch)
        elif self.class_name == "PlainGenerator":
            arrays = [rng.standard_normal([batch, 5]), *self.labels(rng, batch)]
        elif self.class_name == "AdoptedGenerator":
            arrays = [rng.standard_normal([batch, 5]), rng.integers(0, 2, [batch, 6])]
            arrays += self.labels(rng, batch)
        elif self.class_name == "StyleGAN2Generator":
            arrays = [rng.standard_normal([batch, 5]), *self.labels(rng, batch)]
        else:
            side, channels = self.kwargs["resolution"], self.kwargs.get("num_channels", 3)
            arrays = [rng.uniform(-1, 1, [batch, side, side, channels])]
            arrays += self.labels(rng, batch) if self.class_name != "Decoder" else []
        return [tf.constant(array, tf.float32) for array in arrays]

    def labels(self, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
        classes = self.kwargs.get("label_size", 0)
        return [np.eye(classes)[rng.integers(classes, size=batch)]] if classes else []


LABELS = {"label_size": 3, "label_fmaps": 4}
CASES = {
    "generator skip": Case("Generator", {"resolution": 16}),
    "generator resnet": Case("Generator", {"architecture": "resnet"}),
    "generator orig": Case("Generator", {"architecture": "orig"}),
    "generator modulated at 8 only": Case(
        "Generator", {"resolution": 16, "modulated_min_log2": 3, "modulated_max_log2": 3}
    ),
    "generator modulated from 8": Case(
        "Generator", {"modulated_min_log2": 3, "architecture": "resnet"}
    ),
    "generator modulated nowhere": Case(
        "Generator", {"modulated_min_log2": 4, "modulated_max_log2": 7}
    ),
    "generator grey": Case("Generator", {"num_channels": 1}),
    "generator centred, one linear layer": Case(
        "Generator",
        {
            "mapping_layers": 1,
            "mapping_lrmul": 1.0,
            "mapping_act": "linear",
            "center_bits": True,
        },
    ),
    "generator orthogonal": Case(
        "Generator",
        {
            "mapping_layers": 1,
            "mapping_lrmul": 1.0,
            "mapping_act": "linear",
            "center_bits": True,
            "mapping_orthogonal": True,
        },
    ),
    "generator with maps": Case(
        "Generator", {"map_min_log2": 2, "map_max_log2": 3, "num_maps": 2, "modulated_min_log2": 3}
    ),
    "generator with style biases": Case(
        "Generator", {"style_biases": True, "modulated_min_log2": 3, "architecture": "resnet"}
    ),
    "generator with classes": Case("Generator", {"architecture": "resnet", **LABELS}),
    "generator smallest": Case("Generator", {"resolution": 4}),
    "plain generator skip": Case("PlainGenerator", {"resolution": 16}),
    "plain generator resnet": Case("PlainGenerator", {"architecture": "resnet"}),
    "plain generator orig": Case("PlainGenerator", {"architecture": "orig"}),
    "plain generator with a map": Case("PlainGenerator", {"map_min_log2": 3, "map_max_log2": 3}),
    "plain generator grey, with classes": Case("PlainGenerator", {"num_channels": 1, **LABELS}),
    "plain generator grey, smallest": Case("PlainGenerator", {"num_channels": 1, "resolution": 4}),
    "discriminator resnet": Case("Discriminator", {"resolution": 16}),
    "discriminator skip": Case("Discriminator", {"architecture": "skip"}),
    "discriminator orig": Case("Discriminator", {"architecture": "orig"}),
    "discriminator grey": Case("Discriminator", {"num_channels": 1, "mbstd_group_size": 2}),
    "discriminator smallest": Case("Discriminator", {"resolution": 4}),
    "stylegan2 generator skip": Case("StyleGAN2Generator", {"resolution": 16}),
    "stylegan2 generator resnet, labels": Case(
        "StyleGAN2Generator", {"architecture": "resnet", **LABELS}
    ),
    "stylegan2 generator orig, clamped": Case(
        "StyleGAN2Generator", {"architecture": "orig", "conv_clamp": 4.0, "num_channels": 1}
    ),
    "stylegan2 discriminator resnet": Case("StyleGAN2Discriminator", {"resolution": 16}),
    "stylegan2 discriminator skip, labels, clamped": Case(
        "StyleGAN2Discriminator",
        {"architecture": "skip", "conv_clamp": 4.0, **LABELS, **MAPPING},
    ),
    "adopted generator skip": Case("AdoptedGenerator", {"resolution": 16}),
    "adopted generator resnet, labels, biases": Case(
        "AdoptedGenerator", {"architecture": "resnet", "fingerprint_biases": True, **LABELS}
    ),
    "decoder resnet": Case("Decoder"),
    "decoder skip": Case("Decoder", {"architecture": "skip"}),
    "decoder orig": Case("Decoder", {"architecture": "orig"}),
    "decoder grey": Case("Decoder", {"num_channels": 1}),
    "decoder with classes": Case("Decoder", {"label_size": 3}),
    "decoder that reads a small picture": Case("Decoder", {"readout_size": 4}),
}
GENERATORS = [
    name
    for name, case in CASES.items()
    if case.class_name == "Generator" and "label_size" not in case.kwargs
]


def outputs(network, inputs):
    """Results as a list, of networks with one and with two."""
    if isinstance(network, Generator | PlainGenerator) and network.label_size:
        *inputs, labels = inputs
        results = network(*inputs, labels=labels)
    else:
        results = network(*inputs)
    return list(results) if isinstance(results, tuple) else [results]


def assert_close(actual, expected, tolerance=2e-5):
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def test_every_class_is_in_the_table():
    assert {case.class_name for case in CASES.values()} == set(NETWORKS)


@pytest.mark.parametrize("name", CASES)
def test_graph_of_unknown_batch_agrees_with_eager(name):
    case = CASES[name]
    network = case.network()
    unknown = [tf.TensorSpec([None, *x.shape[1:]]) for x in case.inputs(1)]
    graph = tf.function(lambda *inputs: outputs(network, inputs), input_signature=unknown)
    for batch in (1, 8):
        inputs = case.inputs(batch)
        assert_close(graph(*inputs), outputs(network, inputs))


@pytest.mark.parametrize(
    "name",
    [
        "generator centred, one linear layer",
        "discriminator skip",
        "decoder with classes",
        "generator with classes",
        "stylegan2 generator resnet, labels",
        "stylegan2 discriminator skip, labels, clamped",
    ],
)
def test_xla_agrees_with_eager(name):
    case = CASES[name]
    network = case.network()
    compiled = tf.function(lambda *inputs: outputs(network, inputs), jit_compile=True)
    inputs = case.inputs(2)
    assert_close(compiled(*inputs), outputs(network, inputs))


@pytest.mark.parametrize("name", CASES)
def test_shapes_of_the_results(name):
    case = CASES[name]
    kwargs = case.kwargs
    images = [(4, *[kwargs["resolution"]] * 2, kwargs.get("num_channels", 3))]
    shapes = {
        "Generator": images,
        "PlainGenerator": images,
        "StyleGAN2Generator": images,
        "AdoptedGenerator": images,
        "Discriminator": [(4, 1)],
        "StyleGAN2Discriminator": [(4, 1)],
        "Decoder": [(4, 5), (4, 6)],
    }
    results = outputs(case.network(), case.inputs(4))
    assert [tuple(result.shape) for result in results] == shapes[case.class_name]
    assert all(result.dtype == tf.float32 for result in results)


@pytest.mark.parametrize("name", CASES)
def test_network_is_built_again_from_its_arguments(name):
    case = CASES[name]
    network = case.network()
    assert "seed" not in network.kwargs
    assert network.kwargs.items() >= case.kwargs.items()
    again = build(case.class_name, network.kwargs)
    assert again.kwargs == network.kwargs
    inputs = case.inputs(2)
    expected = outputs(network, inputs)
    assert not all(
        np.array_equal(a, b) for a, b in zip(outputs(again, inputs), expected, strict=True)
    )
    again.copy_from(network)
    assert_close(outputs(again, inputs), expected, tolerance=0)


@pytest.mark.parametrize("name", CASES)
def test_seed_fixes_the_initial_values(name):
    case = CASES[name]

    def values(seed):
        network = build(case.class_name, case.kwargs, seed=seed)
        return {key: variable.numpy() for key, variable in network.named_variables().items()}

    first, same, other, unseeded = values(3), values(3), values(4), values(None)
    for key in first:
        assert np.array_equal(first[key], same[key])
        starts_at_zero = key.endswith(("bias", "noise_strength", "map", "avg"))
        starts_at_zero |= key.startswith(("G_fingerprint/", "Readout/"))
        assert np.array_equal(first[key], other[key]) == starts_at_zero, key
        assert np.array_equal(first[key], unseeded[key]) == starts_at_zero, key


@pytest.mark.parametrize("name", CASES)
def test_gradient_reaches_every_trainable(name):
    case = CASES[name]
    network = case.network()
    trainables = network.named_trainables()
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.sin(y)) for y in outputs(network, case.inputs(4))])
    gradients = tape.gradient(loss, trainables, unconnected_gradients="zero")
    still = {key for key, gradient in gradients.items() if not np.any(gradient)}
    if name == "generator modulated nowhere":
        assert still == {key for key in trainables if key.startswith("G_mapping/")}
    else:
        assert still == set()


def expected_variables(case: Case) -> dict[str, list[int]]:
    """Published names and shapes."""
    generates = case.class_name.endswith("Generator")
    is_stylegan2 = case.class_name.startswith(("StyleGAN2", "Adopted"))
    kwargs = {"architecture": "skip" if generates else "resnet", "num_channels": 3}
    if case.class_name in ("Generator", "StyleGAN2Generator", "AdoptedGenerator"):
        kwargs |= {"modulated_min_log2": 2, "modulated_max_log2": 7}
    kwargs |= case.kwargs
    sides = [4, 8, 16][: resolution_log2(kwargs["resolution"]) - 1]
    channels, architecture = kwargs["num_channels"], kwargs["architecture"]
    width = {4: 8, 8: 4, 16: 2}
    expected: dict[str, list[int]] = {}

    def biased(scope, *shape):
        expected[f"{scope}/weight"] = list(shape)
        expected[f"{scope}/bias"] = [shape[-1]]

    if not generates:
        for side in sides:
            scope = f"{side}x{side}"
            if side == sides[-1] or architecture == "skip":
                biased(f"{scope}/FromRGB", 1, 1, channels, width[side])
            if side > 4:
                below = width[side // 2]
                biased(f"{scope}/Conv0", 3, 3, width[side], width[side])
                biased(f"{scope}/Conv1_down", 3, 3, width[side], below)
                if architecture == "resnet":
                    expected[f"{scope}/Skip/weight"] = [1, 1, width[side], below]
        discriminates = case.class_name.endswith("Discriminator")
        biased("4x4/Conv", 3, 3, 9 if discriminates else 8, 8)
        biased("4x4/Dense0", 128, 8)
        if discriminates and "label_size" in kwargs:
            biased("LabelEmbed", 3, 4)
            biased("Mapping0", 4, 9)
            biased("Mapping1", 9, 7)
            biased("Output", 8, 7)
        else:
            biased("Output", 8, 1 if discriminates else 11 + kwargs.get("label_size", 0))
        if size := kwargs.get("readout_size"):
            biased("Readout", size * size * channels, 6)
        return expected

    def offsets(side, scope, channels):
        low, high = kwargs.get("map_min_log2", 0), kwargs.get("map_max_log2", 0)
        if low and low <= np.log2(side) <= high:
            if case.class_name == "PlainGenerator":
                expected[f"{scope}/map"] = [1, side, side, channels]
            else:
                expected[f"{scope}/map_weight"] = [7, side * side * kwargs["num_maps"]]
                expected[f"{scope}/map_mix"] = [kwargs["num_maps"], channels]
        is_modulated = kwargs.get("modulated_min_log2", 2) <= np.log2(side)
        if kwargs.get("style_biases") and is_modulated:
            expected[f"{scope}/style_bias_weight"] = [7, channels]

    def modulated(side, layer, *shape):
        scope = f"G_synthesis/{side}x{side}/{layer}"
        biased(scope, *shape)
        if layer != "ToRGB":
            expected[f"{scope}/noise_strength"] = []
            offsets(side, scope, shape[-1])
        if case.class_name == "PlainGenerator":
            return
        if kwargs["modulated_min_log2"] <= np.log2(side) <= kwargs["modulated_max_log2"]:
            expected[f"{scope}/mod_weight"] = [7, shape[-2]]
            expected[f"{scope}/mod_bias"] = [shape[-2]]
        if case.class_name == "AdoptedGenerator":
            scope = f"G_fingerprint/{side}x{side}/{layer}"
            expected[f"{scope}/style_weight"] = [6, shape[-2]]
            if kwargs.get("fingerprint_biases"):
                expected[f"{scope}/bias_weight"] = [6, shape[-1]]

    if is_stylegan2:
        expected["G_synthesis/4x4/Const/const"] = [1, 8, 4, 4]
        expected["dlatent_avg"] = [7]
    elif "label_size" in kwargs:
        biased("G_synthesis/4x4/LabelEmbed", 3, 4)
        biased("G_synthesis/4x4/Latent", 5 + 4, 128)
    else:
        biased("G_synthesis/4x4/Latent", 5, 128)
    for side in sides:
        if side == 4:
            modulated(4, "Conv", 3, 3, 8, 8)
        else:
            modulated(side, "Conv0_up", 3, 3, width[side // 2], width[side])
            modulated(side, "Conv1", 3, 3, width[side], width[side])
            if architecture == "resnet":
                skip = [1, 1, width[side // 2], width[side]]
                expected[f"G_synthesis/{side}x{side}/Skip/weight"] = skip
        if architecture == "skip" or side == sides[-1]:
            modulated(side, "ToRGB", 1, 1, width[side], channels)
    for slot, side in enumerate([4, 8, 8, 16, 16][: 2 * len(sides) - 1]):
        expected[f"G_synthesis/noise{slot}"] = [1, 1, side, side]
    if case.class_name == "PlainGenerator":
        return expected
    first = 6
    if is_stylegan2:
        first = 5
        if "label_size" in kwargs:
            biased("G_mapping/LabelEmbed", 3, 4)
            first += 4
    widths = [first, 7] if kwargs["mapping_layers"] == 1 else [first, 9, 7]
    for layer, (fan_in, units) in enumerate(itertools.pairwise(widths)):
        biased(f"G_mapping/Dense{layer}", fan_in, units)
    return expected


@pytest.mark.parametrize("name", CASES)
def test_variables_have_published_names_and_shapes(name):
    network = CASES[name].network()
    variables = network.named_variables()
    assert {key: list(v.shape) for key, v in variables.items()} == expected_variables(CASES[name])
    assert len({id(variable) for variable in variables.values()}) == len(variables)
    fixed = {key for key in variables if key.startswith(("G_synthesis/noise", "dlatent_avg"))}
    if CASES[name].class_name == "AdoptedGenerator":
        fixed = {key for key in variables if not key.startswith("G_fingerprint/")}
    if CASES[name].kwargs.get("mapping_orthogonal"):
        fixed.add("G_mapping/Dense0/weight")
    assert set(network.named_trainables()) == set(variables) - fixed
    # What tf.train.Checkpoint and optimisers see is the same set.
    assert {id(v) for v in network.variables} == {id(v) for v in variables.values()}


def test_feature_maps():
    published = FeatureMaps(fmap_base=8192)
    assert [published.nf(stage) for stage in range(7)] == [512] * 5 + [256, 128]
    clipped = FeatureMaps(fmap_base=64, fmap_decay=0.5, fmap_min=20, fmap_max=40)
    assert [clipped.nf(stage) for stage in range(5)] == [40, 40, 32, 22, 20]


def independent_mapping(network, bits):
    """Styles of one slot, in NumPy."""
    kwargs, x = network.kwargs, bits.numpy()
    x = 2 * x - 1 if kwargs["center_bits"] else x
    for layer in range(kwargs["mapping_layers"]):
        weight, bias = (
            network.named_variables()[f"G_mapping/Dense{layer}/{kind}"].numpy() * lrmul
            for kind, lrmul in (
                ("weight", kwargs["mapping_lrmul"]),
                ("bias", kwargs["mapping_lrmul"]),
            )
        )
        x = x @ weight / np.sqrt(len(weight)) + bias
        if kwargs["mapping_act"] == "lrelu":
            x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    return x


@pytest.mark.parametrize(
    "options",
    [
        {},
        CASES["generator centred, one linear layer"].options,
        CASES["generator orthogonal"].options,
    ],
)
def test_mapping_is_the_same_in_every_slot(options):
    case = Case("Generator", options)
    network = case.network()
    bits = case.inputs(4)[1]
    styles = network.map_fingerprints(bits)
    expected = independent_mapping(network, bits)
    slots = 2 * resolution_log2(case.kwargs["resolution"]) - 2
    assert styles.shape == (4, slots, 7)
    for slot in range(slots):
        np.testing.assert_allclose(styles[:, slot], expected, rtol=1e-5, atol=1e-5)


def test_an_orthogonal_mapping_turns_the_bits() -> None:
    case = Case("Generator", CASES["generator orthogonal"].options)
    network = build("Generator", case.kwargs, seed=1)
    bits = tf.constant(np.random.default_rng(1).integers(0, 2, [50, 6]), tf.float32)
    styles = network.map_fingerprints(bits)[:, 0].numpy()
    # Of length sqrt(7), as random styles of 7 numbers; and as far apart as the fingerprints.
    np.testing.assert_allclose(np.sum(styles**2, 1), 7, rtol=1e-5)
    products = (2 * bits - 1) @ tf.transpose(2 * bits - 1)
    np.testing.assert_allclose(styles @ styles.T, products * 7 / 6, rtol=1e-4, atol=1e-4)
    assert "G_mapping/Dense0/weight" not in network.named_trainables()
    with pytest.raises(ValueError, match="at most 7 bits"):
        build("Generator", case.kwargs | {"fingerprint_size": 8}, seed=1)


@pytest.mark.parametrize("name", GENERATORS)
def test_fingerprint_reaches_its_layers_only(name):
    case = CASES[name]
    network = case.network()
    latents, bits = case.inputs(2)
    images, other = network(latents, bits), network(latents, 1 - bits)
    assert np.array_equal(images, other) == (name == "generator modulated nowhere")
    assert not np.array_equal(images, network(-latents, bits))
    # A style slot matters exactly when its layer is there and modulated.
    styles = network.map_fingerprints(bits)
    with tf.GradientTape() as tape:
        tape.watch(styles)
        loss = tf.reduce_sum(tf.sin(network.synthesize(latents, styles)))
    slopes = tape.gradient(loss, styles, unconnected_gradients="zero")
    used = [bool(np.any(slopes[:, slot])) for slot in range(slopes.shape[1])]
    layers = [["4x4/Conv"]]  # of every slot
    for side in (8, 16)[: slopes.shape[1] // 2 - 1]:
        before = f"{side // 2}x{side // 2}/ToRGB"
        layers += [[before, f"{side}x{side}/Conv0_up"], [f"{side}x{side}/Conv1"]]
    last = case.kwargs["resolution"]
    layers.append([f"{last}x{last}/ToRGB"])
    variables = network.named_variables()
    modulated = [
        any(
            f"G_synthesis/{layer}/{kind}_weight" in variables
            for layer in slot
            for kind in ("mod", "map")
        )
        for slot in layers
    ]
    assert used == modulated


def test_a_label_goes_beside_the_latent() -> None:
    """In NumPy: what enters the first layer is of the latent and of the embedded label."""
    case = CASES["generator with classes"]
    network = case.network()
    latents, bits, labels = case.inputs(3)
    values = {key: v.numpy() for key, v in network.named_variables().items()}

    def dense(x, scope):
        weight, bias = (values[f"G_synthesis/4x4/{scope}/{kind}"] for kind in ("weight", "bias"))
        return x @ weight / np.sqrt(len(weight)) + bias

    embedded = dense(labels.numpy(), "LabelEmbed")
    embedded /= np.sqrt(np.mean(np.square(embedded), axis=1, keepdims=True) + 1e-8)
    first = dense(np.concatenate([latents, embedded], axis=1), "Latent")
    first = np.where(first > 0, first, 0.2 * first) * np.sqrt(2)
    expected = first.reshape(3, 8, 4, 4).transpose(0, 2, 3, 1)
    found = network.synthesis._first(latents, None, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    images = [network(latents, bits, labels=tf.roll(labels, by, 1)) for by in range(2)]
    assert np.abs(images[0] - images[1]).max() > 1e-3
    with pytest.raises(ValueError, match="expected those of a network with classes"):
        network(latents, bits)
    with pytest.raises(ValueError, match="labels: this network knows no classes"):
        CASES["generator resnet"].network()(latents, bits, labels=labels)


def test_a_decoder_recovers_latent_label_and_bits_in_this_order() -> None:
    case = CASES["decoder with classes"]
    network = case.network()
    (images,) = case.inputs(2)
    everything = np.concatenate(network.recover(images), axis=1)
    features = network.trunk(images)
    np.testing.assert_allclose(everything, network.output(features), atol=1e-5)
    assert [part.shape[1] for part in network.recover(images)] == [5, 3, 6]
    assert_close(network(images), [everything[:, :5], everything[:, 8:]])


def test_each_rgb_layer_reads_the_slot_behind_its_convolution():
    case = CASES["generator skip"]
    network = case.network()
    latents, bits = case.inputs(2)
    styles = network.map_fingerprints(bits)
    # With the lower resolutions' ToRGB the only layers that read styles, slots 1 and 3 remain.
    for key, variable in network.named_variables().items():
        if key.endswith("mod_weight") and "ToRGB" not in key:
            variable.assign(tf.zeros_like(variable))
    with tf.GradientTape() as tape:
        tape.watch(styles)
        loss = tf.reduce_sum(tf.sin(network.synthesize(latents, styles)))
    slopes = tape.gradient(loss, styles).numpy()
    assert [slot for slot in range(6) if np.any(slopes[:, slot])] == [1, 3, 5]


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_plain_generator_is_a_generator_that_modulates_nothing(architecture):
    options = {"resolution": 16, "architecture": architecture}
    plain = Case("PlainGenerator", options).network()
    generator = Case(
        "Generator", options | {"modulated_min_log2": 7, "modulated_max_log2": 7}
    ).network(seed=2)
    theirs = generator.named_variables()
    for key, variable in plain.named_variables().items():
        theirs[key].assign(variable)
    latents, bits = CASES["generator skip"].inputs(3)
    assert plain.noise_shapes == generator.noise_shapes
    noise = sample_noise(generator, 3)
    assert_close([plain(latents)], [generator(latents, bits)])
    assert_close([plain(latents, noise)], [generator(latents, bits, noise)])
    assert not np.allclose(plain(latents), plain(latents, noise), atol=1e-3)


def silence_lower_rgb(network, layer):
    """Zeroes the RGB layers below the last resolution, which leaves `orig`."""
    for key, variable in network.named_variables().items():
        if f"/{layer}/" in key and "8x8" not in key and "mod" not in key:
            variable.assign(tf.zeros_like(variable))


@pytest.mark.parametrize("class_name", ["Generator", "Discriminator", "Decoder"])
def test_orig_is_skip_without_the_lower_rgb_layers(class_name):
    skip = Case(class_name, {"architecture": "skip"}).network()
    case = Case(class_name, {"architecture": "orig"})
    orig = case.network(seed=2)
    shared = skip.named_variables()
    for key, variable in orig.named_variables().items():
        variable.assign(shared[key])
    inputs = case.inputs(4)
    expected = outputs(orig, inputs)
    assert not np.allclose(outputs(skip, inputs)[0], expected[0], atol=1e-3)
    silence_lower_rgb(skip, "ToRGB" if class_name == "Generator" else "FromRGB")
    assert_close(outputs(skip, inputs), expected)


def test_noise_given_and_stored():
    case = CASES["generator resnet"]
    network = case.network()
    inputs = case.inputs(3)
    assert network.noise_shapes == [(4, 4), (8, 8), (8, 8)]
    stored = [
        network.named_variables()[f"G_synthesis/noise{slot}"].numpy().transpose(0, 2, 3, 1)
        for slot in range(3)
    ]
    images = network(*inputs)
    assert np.array_equal(network(*inputs, noise=stored), images)
    tf.random.set_seed(1)
    fresh = sample_noise(network, 3)
    assert [tuple(noise.shape) for noise in fresh] == [
        (3, h, w, 1) for h, w in network.noise_shapes
    ]
    values = np.concatenate([noise.numpy().ravel() for noise in fresh])
    assert abs(values.mean()) < 0.1
    assert abs(values.std() - 1) < 0.1
    assert not np.array_equal(fresh[0][0], fresh[0][1])
    # Each layer reads its map, each image its own row.
    batch = network(*inputs, noise=fresh)
    for slot in range(3):
        mixed = [*fresh[:slot], stored[slot], *fresh[slot + 1 :]]
        assert not np.allclose(network(*inputs, noise=mixed), batch, atol=1e-4)
    for i in range(3):
        single = network(*(x[i : i + 1] for x in inputs), noise=[n[i : i + 1] for n in fresh])
        assert_close([batch[i : i + 1]], [single])


def test_noise_starts_without_effect():
    case = CASES["generator skip"]
    network = build("Generator", case.kwargs, seed=1)
    inputs = case.inputs(2)
    noise = [100.0 + n for n in sample_noise(network, 2)]
    assert np.array_equal(network(*inputs), network(*inputs, noise=noise))


def test_flat_noise_is_cut_into_maps():
    network = CASES["generator skip"].network()
    flat = np.arange(2 * 656, dtype=np.float32).reshape(2, 656)  # 4*4 + 2*8*8 + 2*16*16
    maps = network.split_noise(tf.constant(flat))
    assert [tuple(noise.shape[1:3]) for noise in maps] == network.noise_shapes
    assert np.array_equal(np.concatenate([n.numpy().reshape(2, -1) for n in maps], axis=1), flat)


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (12, 4), (6, 3), (4, 4), (3, 4), (1, 4)])
def test_minibatch_standard_deviation_of_strided_groups(batch, group):
    x = np.random.default_rng(0).standard_normal([batch, 2, 3, 5]).astype(np.float32)
    x *= np.arange(1, batch + 1)[:, None, None, None]  # so that groups differ
    groups = max(batch // group, 1)
    feature = np.zeros([batch, 2, 3, 1])
    for first in range(groups):
        members = list(range(first, batch, groups))
        feature[members] = np.sqrt(x[members].var(axis=0) + 1e-8).mean()
    expected = np.concatenate([x, feature], axis=3)
    np.testing.assert_allclose(minibatch_stddev(tf.constant(x), group), expected, rtol=1e-5)
    unknown = tf.function(
        lambda images: minibatch_stddev(images, group),
        input_signature=[tf.TensorSpec([None, 2, 3, 5])],
    )
    np.testing.assert_allclose(unknown(x), expected, rtol=1e-5)


def test_group_size_takes_effect():
    case = CASES["discriminator resnet"]
    inputs = case.inputs(4)
    network = case.network()
    other = build("Discriminator", network.kwargs | {"mbstd_group_size": 2})
    other.copy_from(network)
    assert not np.allclose(network(*inputs), other(*inputs), atol=1e-4)


def test_decoder_reads_each_image_alone():
    case = CASES["decoder resnet"]
    network = case.network()
    images = case.inputs(4)[0]
    together = network(images)
    alone = [network(images[i : i + 1]) for i in range(4)]
    assert_close(together, [tf.concat(results, axis=0) for results in zip(*alone, strict=True)])


SMALL = {"resolution": 8} | WIDTHS
SMALL_GENERATOR = SMALL | CODE | MAPPING
ERRORS = [
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR | {"resolution": 12})),
        "resolution 12: expected a power",
    ),
    (
        lambda: Decoder(DecoderConfig(**SMALL | {"resolution": 2})),
        "resolution 2: expected a power of two",
    ),
    (
        lambda: Discriminator(DiscriminatorConfig(**SMALL, architecture="dense")),
        "expected one of skip, resnet, orig",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR, architecture="?")),
        "expected one of skip, resnet, orig",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR | {"mapping_layers": 0})),
        "mapping_layers=0: expected",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR))(tf.zeros([2, 4]), tf.zeros([2, 6])),
        r"latents: expected shape \[any, 5\], got \(2, 4\)",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR))(tf.zeros([2, 5]), tf.zeros([2, 5])),
        r"fingerprints: expected shape \[any, 6\], got \(2, 5\)",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR)).synthesize(
            tf.zeros([2, 5]), tf.zeros([2, 3, 7])
        ),
        r"styles: expected shape \[any, 4, 7\], got \(2, 3, 7\)",
    ),
    (
        lambda: Generator(GeneratorConfig(**SMALL_GENERATOR))(
            tf.zeros([2, 5]), tf.zeros([2, 6]), noise=[]
        ),
        "noise: expected 3 maps, got 0",
    ),
    (
        lambda: PlainGenerator(PlainGeneratorConfig(**SMALL | CODE))(tf.zeros([2, 4])),
        r"latents: expected shape \[any, 5\], got \(2, 4\)",
    ),
    (
        lambda: Discriminator(DiscriminatorConfig(**SMALL))(tf.zeros([2, 8, 8, 1])),
        r"images: expected shape \[any, 8, 8, 3\], got \(2, 8, 8, 1\)",
    ),
    (
        lambda: Decoder(DecoderConfig(**SMALL))(tf.zeros([2, 16, 8, 3])),
        r"images: expected shape \[any, 8, 8, 3\], got \(2, 16, 8, 3\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_table_builds_what_it_knows_only():
    assert isinstance(build("Decoder", SMALL), Decoder)
    with pytest.raises(KeyError, match="Encoder"):
        build("Encoder", {})
    with pytest.raises(TypeError, match="label_size"):
        build("Discriminator", SMALL | {"label_size": 3})

"""Compares networks, losses and gradients with arrays that the published implementation made.

Layout of a file: `meta`, `G_architecture`, `D_architecture`, inputs, variables `G/..`, `E/..`,
`D/..`, outputs `out/..`, losses `loss/..` and the gradients of their means `grad/<loss>/..`.
Images are [N,C,H,W].
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from tests.support.deviation import Deviation, compare_gradients, compare_values, failure, largest
from training import loss as losses
from training.config import LossConfig
from training.networks.layers import Network
from training.networks.table import build

META = ("resolution", "fmap_base", "fmap_max", "latent_size", "bits", "low", "high", "batch")
INPUTS = (
    *("latents", "fingerprints", "fingerprints_other", "reals", "D_latents", "D_fingerprints"),
    *("pl_latents", "pl_fingerprints", "pl_noise"),
)
OUTPUTS = ("images", "dlatents", "scores", "scores_reals", "decoded_latents", "decoded_logits")
# Variables of published networks that play no part here.
UNUSED = {"lod", "dlatent_avg"}
GAMMA = 10.0
# A gradient whose largest entry is below this share of the largest one of its loss is compared
# with that instead: it is then zero, or what large terms that cancel have left of it.
FLOOR = 1e-3

Networks = dict[str, Network]
Tensors = dict[str, tf.Tensor]


def check_networks(
    arrays: Mapping[str, np.ndarray], where: str, impl: str, xla: bool
) -> list[Deviation]:
    """Deviation of every output, loss and gradient; operations run on `impl`, compiled if `xla`.

    Variables that the file and our networks do not share are failures, and then the only result.
    UserError for arrays of another layout.
    """
    networks = build_networks(arrays, where)
    for network in networks.values():
        network.run_with(impl)
    compared = _losses_of(arrays)
    _refuse_unknown(arrays, where)
    needed = [*INPUTS, *(f"out/{name}" for name in OUTPUTS), *(f"loss/{name}" for name in compared)]
    if missing := [key for key in needed if key not in arrays]:
        raise UserError(f"{where}: {missing[0]} is missing")
    if mismatches := _assign(networks, arrays):
        return mismatches
    data = {name: tf.constant(_channels_last(arrays[name]), tf.float32) for name in INPUTS}

    def compiled(function: Callable) -> Callable:
        return tf.function(function, jit_compile=True) if xla else function

    outputs = compiled(lambda inputs: _outputs(networks, inputs))(data)
    deviations = [
        compare_values(f"out/{name}", outputs[name].numpy(), _channels_last(arrays[f"out/{name}"]))
        for name in OUTPUTS
    ]
    gradients: list[Deviation] = []
    for name in compared:
        loss, ours = compiled(lambda inputs, name=name: _gradients(name, networks, inputs))(data)
        # The published code broadcasts some losses to [N,N]: only their means are comparable.
        mean = np.asarray(np.mean(arrays[f"loss/{name}"], dtype=np.float64), np.float32)
        deviations.append(compare_values(f"loss/{name}", loss.numpy(), mean))
        gradients += _compare_all_gradients(f"grad/{name}", ours, arrays)
    return deviations + gradients


def build_networks(arrays: Mapping[str, np.ndarray], where: str) -> Networks:
    """Networks of the sizes that the file states or its arrays have."""
    layers = sorted(
        int(match[1])
        for key in arrays
        if (match := re.fullmatch(r"G/G_mapping/Dense(\d+)/weight", key))
    )
    if not layers:
        raise UserError(f"{where}: G/G_mapping/Dense0/weight is missing")
    if missing := [k for k in ("G_architecture", "D_architecture", "reals") if k not in arrays]:
        raise UserError(f"{where}: {missing[0]} is missing")
    if arrays["meta"].shape != (len(META),):
        raise UserError(f"{where}: meta should hold {len(META)} numbers: {', '.join(META)}")
    meta = dict(zip(META, arrays["meta"].tolist(), strict=True))
    image = {
        "resolution": meta["resolution"],
        "num_channels": arrays["reals"].shape[1],
        "fmap_base": meta["fmap_base"],
        "fmap_max": meta["fmap_max"],
    }
    code = {"latent_size": meta["latent_size"], "fingerprint_size": meta["bits"]}
    generator = {
        "architecture": str(arrays["G_architecture"]),
        "mapping_layers": len(layers),
        "mapping_fmaps": arrays[f"G/G_mapping/Dense{layers[0]}/weight"].shape[1],
        "dlatent_size": arrays[f"G/G_mapping/Dense{layers[-1]}/weight"].shape[1],
        "modulated_min_log2": int(meta["low"]).bit_length() - 1,  # floored to a power of two
        "modulated_max_log2": int(meta["high"]).bit_length() - 1,
    }
    body = {"architecture": str(arrays["D_architecture"])}
    try:
        return {
            "G": build("Generator", image | code | generator),
            "E": build("Decoder", image | code | body),
            "D": build("Discriminator", image | body),
        }
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _refuse_unknown(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """UserError for outputs, losses and gradients that would go unchecked."""
    for key in arrays:
        scope, _, rest = key.partition("/")
        name = rest.partition("/")[0]
        if (scope == "out" and rest not in OUTPUTS) or (
            scope in ("loss", "grad") and name not in LOSSES
        ):
            raise UserError(f"{where}: {key} is no array of the networks' layout")


def _losses_of(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The losses to compare: all, but the path length only where a style reaches the image."""
    modulated = any(key.endswith("/mod_weight") for key in arrays)
    return [name for name in LOSSES if modulated or name != "G_pl"]


def _assign(networks: Networks, arrays: Mapping[str, np.ndarray]) -> list[Deviation]:
    """Gives the networks the values of the file; returns what does not fit."""
    mismatches = []
    for prefix, network in networks.items():
        ours = {f"{prefix}/{name}": v for name, v in network.named_variables().items()}
        theirs = {key for key in arrays if key.startswith(f"{prefix}/")}
        theirs -= {f"{prefix}/{name}" for name in UNUSED}
        mismatches += [
            failure(k, "variable missing in the file") for k in sorted(set(ours) - theirs)
        ]
        mismatches += [failure(k, "variable unknown here") for k in sorted(theirs - set(ours))]
        for key in sorted(theirs & set(ours)):
            shape = tuple(ours[key].shape)
            if shape == arrays[key].shape:
                ours[key].assign(arrays[key])
            else:
                note = f"variable of shape {shape}, in the file {arrays[key].shape}"
                mismatches.append(failure(key, note))
    return mismatches


def _channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _outputs(networks: Networks, data: Tensors) -> Tensors:
    images = networks["G"](data["latents"], data["fingerprints"])
    latents, logits = networks["E"](images)
    return {
        "images": images,
        "dlatents": networks["G"].map_fingerprints(data["fingerprints"]),
        "scores": networks["D"](images),
        "scores_reals": networks["D"](data["reals"]),
        "decoded_latents": latents,
        "decoded_logits": logits,
    }


def _generator_and_decoder_loss(networks: Networks, data: Tensors) -> tf.Tensor:
    images = networks["G"](data["latents"], data["fingerprints"])
    other = networks["G"](data["latents"], data["fingerprints_other"])
    latents, logits = networks["E"](images)
    weights = LossConfig()
    return (
        losses.generator_adversarial_loss(networks["D"](images))
        + weights.decouple * losses.decouple_loss(images, other)
        + weights.latent * losses.latent_loss(data["latents"], latents)
        + weights.bits * losses.bits_loss(data["fingerprints"], logits)
    )


def _discriminator_loss(networks: Networks, data: Tensors) -> tf.Tensor:
    fakes = networks["G"](data["D_latents"], data["D_fingerprints"])
    return losses.discriminator_loss(networks["D"](fakes), networks["D"](data["reals"]))


def _r1_loss(networks: Networks, data: Tensors) -> tf.Tensor:
    reals = data["reals"]
    with tf.GradientTape() as tape:
        tape.watch(reals)
        scores = tf.reduce_sum(networks["D"](reals))
    return losses.r1_penalty(tape.gradient(scores, reals), GAMMA)


def _path_length_loss(networks: Networks, data: Tensors) -> tf.Tensor:
    generator = networks["G"]
    styles = generator.map_fingerprints(data["pl_fingerprints"])
    with tf.GradientTape() as tape:
        tape.watch(styles)
        images = generator.synthesize(data["pl_latents"], styles)
        projection = tf.reduce_sum(images * data["pl_noise"] / generator.resolution)
    lengths = losses.path_lengths(tape.gradient(projection, styles))
    return losses.path_length_penalty(lengths, tf.zeros([]))[0]


# Each loss per sample, and the networks whose gradients are compared.
LOSSES: dict[str, tuple[Callable[[Networks, Tensors], tf.Tensor], str]] = {
    "EG": (_generator_and_decoder_loss, "GE"),
    "D": (_discriminator_loss, "D"),
    "D_r1": (_r1_loss, "D"),
    "G_pl": (_path_length_loss, "G"),
}


def _gradients(name: str, networks: Networks, data: Tensors) -> tuple[tf.Tensor, Tensors]:
    """Mean of a loss, and its gradient by `<network>/<variable>`."""
    function, trained = LOSSES[name]
    variables = {
        f"{prefix}/{variable}": value
        for prefix in trained
        for variable, value in networks[prefix].named_trainables().items()
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(function(networks, data))
    return loss, tape.gradient(loss, variables, unconnected_gradients="zero")


def _compare_all_gradients(
    scope: str, ours: Tensors, arrays: Mapping[str, np.ndarray]
) -> list[Deviation]:
    """Compares the gradients of one loss; those that the file lacks have to be zero."""
    theirs = {key: array for key, array in arrays.items() if key.startswith(f"{scope}/")}
    floor = max(FLOOR * max(map(largest, theirs.values()), default=0.0), 1e-30)
    deviations = []
    for name, gradient in ours.items():
        key, actual = f"{scope}/{name}", gradient.numpy()
        expected = theirs.pop(key, None)
        if expected is None:
            if largest(actual) > 0:
                note = f"not in the file; largest entry here {largest(actual):.2e}"
                deviations.append(failure(key, note))
            continue
        deviations.append(compare_gradients(key, actual, expected, floor))
    return deviations + [failure(key, "gradient of no variable here") for key in theirs]

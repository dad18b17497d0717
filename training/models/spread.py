"""A StyleGAN2 generator in other numbers: what it computes stays, hardly a number does.

The units of a hidden layer have no order of their own. The scale of a unit of the mapping network
cancels in the layer behind it, as its activation only knows the sign; that of a style cancels in
the weights that it modulates, also where they are demodulated, since only the product counts
(StyleGAN2, arXiv 1912.04958, equations 1 to 3). So units can be put into another order, and
scaled, for each instance by itself. Whoever compares two such files sees differences everywhere,
and their mean is no generator.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from training.networks.layers import resolution_log2

# Activations f with f(a x) = a f(x) for positive a.
_HOMOGENEOUS = ("lrelu", "relu", "linear")
_LARGEST = 2.0  # factor of a scale, and its inverse the smallest


class Axis(NamedTuple):
    """Where a variable says something of each of some units."""

    name: str  # of the variable
    axis: int
    power: int = 0  # of the units' scale, that the values are multiplied by
    start: int = 0  # where on the axis the units begin


class Units(NamedTuple):
    """Units of a hidden layer, or the styles of a layer, and all that is said of them."""

    axes: tuple[Axis, ...]
    is_ordered: bool = False  # styles stay where their channels are
    is_scaled: bool = False


def units_of(kwargs: Mapping[str, Any]) -> list[Units]:
    """All units of a `StyleGAN2Generator` that may be reordered or scaled.

    Args:
        kwargs: its keyword arguments, all of them.

    Returns:
        In the order in which pictures are computed: what the first axis of each says of it besides
        follows from those before.
    """
    last = resolution_log2(kwargs["resolution"])
    layers = list(_layers(kwargs["architecture"], last))
    return [*_mapping(kwargs, layers), *_synthesis(kwargs["architecture"], last)]


def names_of(units: Sequence[Units]) -> list[str]:
    """The variables that change, each once."""
    return list(dict.fromkeys(axis.name for each in units for axis in each.axes))


def spread(
    values: Mapping[str, np.ndarray], units: Sequence[Units], seed: bytes
) -> dict[str, np.ndarray]:
    """Reorders and scales units.

    Args:
        values: at least those of `names_of(units)`, float64.
        units: of `units_of`.
        seed: the same one gives the same order and scales, whatever the values.

    Returns:
        New values of `names_of(units)`, float64.
    """
    digest = hashlib.sha256(b"spread" + seed).digest()
    # Its streams are promised to stay as they are, unlike those of NumPy's newer generators.
    rnd = np.random.RandomState(np.frombuffer(digest, "<u4"))
    # Styles are 1 + A(w) + b: their scale is that of 1 + b.
    found = {name: values[name] + _one(name) for name in names_of(units)}
    for each in units:
        size = _size(values, units=each)
        order = np.arange(size) if each.is_ordered else rnd.permutation(size)
        # Nothing but products and quotients, which are the same numbers on every machine.
        factors = 1 + (_LARGEST - 1) * rnd.random_sample(size)
        factors = np.where(rnd.randint(0, 2, size) == 1, factors, 1 / factors)
        scale = factors if each.is_scaled else np.ones(size)
        for axis in each.axes:
            found[axis.name] = rearranged(found[axis.name], axis, order, scale)
    return {name: value - _one(name) for name, value in found.items()}


def rearranged(value: np.ndarray, axis: Axis, order: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """One variable with units in another order, then scaled.

    Args:
        value: float64.
        axis: where the units lie.
        order: [U], the unit that comes to each place.
        scale: [U], of the units at their new places.
    """
    index = np.arange(value.shape[axis.axis])
    index[axis.start : axis.start + len(order)] = axis.start + order
    factors = np.ones(len(index))
    factors[axis.start : axis.start + len(order)] = scale**axis.power
    shape = [-1 if number == axis.axis else 1 for number in range(value.ndim)]
    return np.take(value, index, axis.axis) * factors.reshape(shape)


def _one(name: str) -> float:
    return 1.0 if name.endswith("/mod_bias") else 0.0


def _size(values: Mapping[str, np.ndarray], units: Units) -> int:
    """How many units there are: the shortest of their axes has no others."""
    return min(values[axis.name].shape[axis.axis] - axis.start for axis in units.axes)


def _layers(architecture: str, last: int) -> Iterator[str]:
    """Scopes of the modulated layers."""
    for log2 in range(2, last + 1):
        scope = f"G_synthesis/{2**log2}x{2**log2}"
        yield from [f"{scope}/Conv"] if log2 == 2 else [f"{scope}/Conv0_up", f"{scope}/Conv1"]
        if architecture == "skip" or log2 == last:
            yield f"{scope}/ToRGB"


def _mapping(kwargs: Mapping[str, Any], layers: Sequence[str]) -> Iterator[Units]:
    is_scaled = kwargs["mapping_act"] in _HOMOGENEOUS
    if kwargs["label_size"]:
        embed, width = "G_mapping/LabelEmbed", kwargs["latent_size"]
        behind = Axis("G_mapping/Dense0/weight", 0, start=width)
        # Its length is normalised, which leaves no scale.
        yield Units((Axis(f"{embed}/weight", 1), Axis(f"{embed}/bias", 0), behind))
    for number in range(kwargs["mapping_layers"]):
        scope = f"G_mapping/Dense{number}"
        behind_all = [Axis(f"G_mapping/Dense{number + 1}/weight", 0, -1)]
        if number == kwargs["mapping_layers"] - 1:
            behind_all = [Axis(f"{layer}/mod_weight", 0, -1) for layer in layers]
            behind_all.append(Axis("dlatent_avg", 0, 1))
        own = (Axis(f"{scope}/weight", 1, 1), Axis(f"{scope}/bias", 0, 1))
        yield Units((*own, *behind_all), is_scaled=is_scaled)


def _styles(layer: str) -> Units:
    own = (Axis(f"{layer}/mod_weight", 1, 1), Axis(f"{layer}/mod_bias", 0, 1))
    return Units((*own, Axis(f"{layer}/weight", 2, -1)), is_ordered=True, is_scaled=True)


def _synthesis(architecture: str, last: int) -> Iterator[Units]:
    """Styles, and what goes from layer to layer; the latter has no scale, as it is normalised."""

    def into(layer: str) -> tuple[Axis, ...]:
        own = (Axis(f"{layer}/mod_weight", 1), Axis(f"{layer}/mod_bias", 0))
        return (Axis(f"{layer}/weight", 2), *own)

    def out_of(layer: str) -> tuple[Axis, ...]:
        return (Axis(f"{layer}/weight", 3), Axis(f"{layer}/bias", 0))

    yield Units((Axis("G_synthesis/4x4/Const/const", 1), *into("G_synthesis/4x4/Conv")))
    for log2 in range(2, last + 1):
        scope, behind = (f"G_synthesis/{2**n}x{2**n}" for n in (log2, log2 + 1))
        conv1 = f"{scope}/Conv" if log2 == 2 else f"{scope}/Conv1"
        axes = out_of(conv1)
        if log2 > 2:
            yield _styles(f"{scope}/Conv0_up")
            yield Units((*out_of(f"{scope}/Conv0_up"), *into(conv1)))
            if architecture == "resnet":
                axes += (Axis(f"{scope}/Skip/weight", 3),)
        if log2 < last:
            axes += into(f"{behind}/Conv0_up")
            if architecture == "resnet":
                axes += (Axis(f"{behind}/Skip/weight", 2),)
        has_rgb = architecture == "skip" or log2 == last
        yield _styles(conv1)
        yield Units(axes + into(f"{scope}/ToRGB") if has_rgb else axes)
        if has_rgb:
            yield _styles(f"{scope}/ToRGB")

"""A trained generator whose mapping of fingerprints becomes a rotation (docs/training.md).

A linear mapping that is trained loses directions: combinations of bits that no style carries any
more, so that no decoder can read them. A rotation cannot. What the mapping did beyond one moves
into the layers that take its styles, which leaves pictures as they are, and lost directions come
back there.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from training.networks.generator import Generator

_TAKES_STYLES = ("/mod_weight", "/style_bias_weight", "/map_weight")
_LOST = 0.5  # of the median singular value; what lies below is raised to that


def is_linear(generator: Any) -> bool:
    """Whether bits go to styles, which are wide enough, through one trained linear layer."""
    if not isinstance(generator, Generator) or generator.config.mapping_orthogonal:
        return False
    config = generator.config
    fits = config.fingerprint_size <= config.dlatent_size
    return fits and config.mapping_layers == 1 and config.mapping_act == "linear"


def orthogonalise(generators: list[Generator]) -> list[Generator]:
    """The generators of a training with `mapping_orthogonal`, one rotation for all.

    Args:
        generators: G and its average, the average last, of which `is_linear` holds.
    """
    config = generators[-1].config
    left, values, right = np.linalg.svd(_weight(generators[-1]))
    count, width = len(values), config.dlatent_size
    middle = np.median(values)
    rotation = middle * left @ right[:count]
    # Of all directions of the styles: those that no bit reaches stay, the others' size moves on.
    sizes = np.ones(width)
    sizes[:count] = np.maximum(values / middle, _LOST)
    average_fold = right.T @ np.diag(sizes) @ right
    lost = right.T @ np.diag(sizes - np.append(values / middle, np.ones(width - count))) @ right
    found = []
    for generator in generators:
        fold = average_fold
        if generator is not generators[-1]:
            onto = right[:count].T @ left.T @ _weight(generator) / middle
            fold = onto + lost + right[count:].T @ right[count:]
        found.append(_folded(generator, rotation, fold))
    return found


def fold_in(generator: Generator, factors: np.ndarray) -> Generator:
    """A generator whose pictures of bits c, as -1/+1, are those that it had of `c @ factors`.

    Args:
        generator: with a mapping that is a rotation.
        factors: [B,B], invertible.
    """
    weight = _weight(generator)
    inverse = np.linalg.pinv(weight)
    # Directions of the styles that no bit reaches stay.
    rest = np.eye(weight.shape[1]) - inverse @ weight
    return _folded(generator, weight, inverse @ factors @ weight + rest)


def _weight(generator: Generator) -> np.ndarray:
    return generator.mapping.layers[0].weight.numpy().astype(np.float64)


def _folded(generator: Generator, rotation: np.ndarray, fold: np.ndarray) -> Generator:
    """One whose mapping is the rotation, and `fold` is in front of every layer's affine."""
    result = Generator(replace(generator.config, mapping_orthogonal=True))
    values = {name: v.numpy() for name, v in generator.named_variables().items()}
    for name, value in values.items():
        if name.endswith(_TAKES_STYLES):
            values[name] = fold @ value
    values["G_mapping/Dense0/weight"] = rotation
    bias = values["G_mapping/Dense0/bias"]
    values["G_mapping/Dense0/bias"] = np.linalg.solve(fold.T, bias)
    for name, variable in result.named_variables().items():
        variable.assign(values[name].astype(np.float32))
    return result

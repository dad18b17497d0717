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


def is_orthogonal(generator: Any) -> bool:
    """Whether bits go to styles through a rotation."""
    return isinstance(generator, Generator) and generator.config.mapping_orthogonal


def is_linear(generator: Any) -> bool:
    """Whether bits go to styles, which are wide enough, through one trained linear layer."""
    if not isinstance(generator, Generator) or is_orthogonal(generator):
        return False
    config = generator.config
    fits = config.fingerprint_size <= config.dlatent_size
    return fits and config.mapping_layers == 1 and config.mapping_act == "linear"


def orthogonalise(generators: list[Generator]) -> list[Generator]:
    """The generators of a training with `mapping_orthogonal`, one rotation for all.

    Args:
        generators: G and its average, the average last, of which `is_linear` holds.
    """
    left, values, right = np.linalg.svd(_weight(generators[-1]), full_matrices=False)
    middle = np.median(values)
    rotation = middle * left @ right
    lost = left @ np.diag(np.maximum(values, _LOST * middle) - values) @ right
    return [_folded(g, rotation, _weight(g) + lost) for g in generators]


def fold_in(generator: Generator, factors: np.ndarray) -> Generator:
    """A generator whose pictures of bits c, as -1/+1, are those that it had of `c @ factors`.

    Args:
        generator: with a mapping that is a rotation.
        factors: [B,B], invertible.
    """
    rotation = _weight(generator)
    return _folded(generator, rotation, factors @ rotation)


def _weight(generator: Generator) -> np.ndarray:
    return generator.mapping.layers[0].weight.numpy().astype(np.float64)


def _folded(generator: Generator, rotation: np.ndarray, weight: np.ndarray) -> Generator:
    """One that makes of a mapping by the rotation what the generator made of one by `weight`.

    What is between the two, [D,D], comes in front of every layer's affine. Directions of the styles
    that no bit reaches stay.
    """
    inverse = np.linalg.pinv(rotation)
    fold = inverse @ weight + np.eye(rotation.shape[1]) - inverse @ rotation
    result = Generator(replace(generator.config, mapping_orthogonal=True))
    result.copy_from(generator)
    for name, variable in result.named_variables().items():
        if name.endswith(_TAKES_STYLES):
            variable.assign(fold @ variable.numpy())
    (layer,) = result.mapping.layers
    layer.weight.assign(rotation)
    layer.bias.assign(np.linalg.solve(fold.T, layer.bias.numpy()))
    return result

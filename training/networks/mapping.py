"""Mapping: from what an image is made from to styles."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dnnlib.tflib.shapes import check_shape
from training.networks.configs import DenseMapping, GeneratorConfig, LabelMapping
from training.networks.layers import (
    Dense,
    LabelEmbedding,
    VariableFactory,
    unit_second_moment,
)


class FingerprintMapping(tf.Module):
    """Dense layers that turn a fingerprint into one style per slot (paper, section 3.2).

    The published form is 8 layers, lrmul 0.01, bits as 0/1, leaky ReLU behind every layer. Small
    models learn sooner with one linear layer, lrmul 1 and centred bits (docs/training.md).
    """

    def __init__(
        self, variables: VariableFactory, config: GeneratorConfig, *, num_slots: int
    ) -> None:
        super().__init__()
        self.fingerprint_size = config.fingerprint_size
        self.num_slots = num_slots
        self.center_bits = config.center_bits
        if config.mapping_orthogonal:
            self.layers = [_orthogonal_layer(variables, "G_mapping/Dense0", config)]
        else:
            self.layers = _dense_layers(
                variables, "G_mapping/Dense", config.fingerprint_size, config
            )

    def __call__(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> styles [N,L,D], the same in every slot."""
        check_shape(fingerprints, [None, self.fingerprint_size], "fingerprints")
        x = fingerprints * 2 - 1 if self.center_bits else fingerprints
        for layer in self.layers:
            x = layer(x)
        return tf.tile(x[:, None, :], [1, self.num_slots, 1])


class LatentMapping(tf.Module):
    """StyleGAN2's mapping: latents, labels or both -> [N,D].

    Latents are scaled to unit second moment, and so are the labels once they are embedded; then
    both go side by side through dense layers (StyleGAN2-ADA, arXiv 2006.06676, appendix).

    Args:
        scopes: of the embedding of the labels, and of the dense layers without their number.
        latent_size: Z; 0: it takes labels alone.
    """

    def __init__(
        self,
        variables: VariableFactory,
        config: LabelMapping,
        *,
        scopes: tuple[str, str],
        latent_size: int,
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embed = None
        if config.label_size:
            self.embed = LabelEmbedding(variables, scopes[0], config.label_size, config.label_fmaps)
        width = latent_size + (config.label_fmaps if config.label_size else 0)
        self.layers = _dense_layers(variables, scopes[1], width, config)

    def __call__(self, latents: tf.Tensor | None, labels: tf.Tensor | None) -> tf.Tensor:
        """[N,Z], labels as one-hot floats [N,C] -> [N,D]; None where there are none."""
        parts = []
        if self.latent_size:
            check_shape(latents, [None, self.latent_size], "latents")
            parts.append(unit_second_moment(latents))
        if self.embed is not None:
            parts.append(self.embed(labels))
        x = tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        for layer in self.layers:
            x = layer(x)
        return x


def _orthogonal_layer(variables: VariableFactory, scope: str, config: GeneratorConfig) -> Dense:
    """[N,B] -> [N,D], a rotation of the bits, which training leaves alone."""
    size, width = config.fingerprint_size, config.dlatent_size
    if config.mapping_layers != 1 or size > width:
        raise ValueError(
            f"mapping_orthogonal: {size} bits, {config.mapping_layers} layers; it takes one layer "
            f"and at most {width} bits, the width of the styles"
        )
    layer = Dense(
        variables,
        scope,
        size,
        width,
        act=config.mapping_act,
        lrmul=config.mapping_lrmul,
        trainable=False,
    )
    # Nearest orthonormal rows, at the length that random ones have (polar decomposition).
    weight = layer.weight.numpy()
    if weight.any():
        left, _, right = np.linalg.svd(weight, full_matrices=False)
        layer.weight.assign(math.sqrt(width) / config.mapping_lrmul * (left @ right))
    return layer


def _dense_layers(
    variables: VariableFactory, scope: str, width: int, config: DenseMapping
) -> list[Dense]:
    """Layers `<scope>0`, ... from [N,width] to [N,D]."""
    if config.mapping_layers < 1:
        raise ValueError(f"mapping_layers={config.mapping_layers}: expected at least 1")
    hidden = [config.mapping_fmaps] * (config.mapping_layers - 1)
    widths: Sequence[int] = [width, *hidden, config.dlatent_size]
    return [
        Dense(
            variables,
            f"{scope}{index}",
            widths[index],
            widths[index + 1],
            act=config.mapping_act,
            lrmul=config.mapping_lrmul,
        )
        for index in range(config.mapping_layers)
    ]

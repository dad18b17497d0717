"""Fingerprint mapping: bits -> styles."""

import tensorflow as tf

from dnnlib.tflib.shapes import check_shape
from training.networks.configs import GeneratorConfig
from training.networks.layers import Dense, VariableFactory


class Mapping(tf.Module):
    """Dense layers that turn a fingerprint into one style per slot (paper, section 3.2).

    The published form is 8 layers, lrmul 0.01, bits as 0/1, leaky ReLU behind every layer. Small
    models learn sooner with one linear layer, lrmul 1 and centred bits (docs/training.md).
    """

    def __init__(
        self, variables: VariableFactory, config: GeneratorConfig, *, num_slots: int
    ) -> None:
        super().__init__()
        if config.mapping_layers < 1:
            raise ValueError(f"mapping_layers={config.mapping_layers}: expected at least 1")
        self.fingerprint_size = config.fingerprint_size
        self.num_slots = num_slots
        self.center_bits = config.center_bits
        hidden = [config.mapping_fmaps] * (config.mapping_layers - 1)
        widths = [config.fingerprint_size, *hidden, config.dlatent_size]
        self.layers = [
            Dense(
                variables,
                f"G_mapping/Dense{index}",
                widths[index],
                widths[index + 1],
                act=config.mapping_act,
                lrmul=config.mapping_lrmul,
            )
            for index in range(config.mapping_layers)
        ]

    def __call__(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> styles [N,L,D], the same in every slot."""
        check_shape(fingerprints, [None, self.fingerprint_size], "fingerprints")
        x = fingerprints * 2 - 1 if self.center_bits else fingerprints
        for layer in self.layers:
            x = layer(x)
        return tf.tile(x[:, None, :], [1, self.num_slots, 1])

"""Fingerprint mapping: bits -> styles."""

import tensorflow as tf

from dnnlib.tflib.shapes import check_shape
from training.networks.layers import Dense, VariableFactory


class Mapping(tf.Module):
    """Dense layers that turn a fingerprint into one style per slot (paper, section 3.2).

    The published form is 8 layers, lrmul 0.01, bits as 0/1, leaky ReLU behind every layer. Small
    models learn sooner with one linear layer, lrmul 1 and centred bits (docs/training.md).
    """

    def __init__(
        self,
        variables: VariableFactory,
        *,
        fingerprint_size: int,
        num_slots: int,
        dlatent_size: int,
        mapping_fmaps: int,
        mapping_layers: int,
        mapping_lrmul: float,
        mapping_act: str,
        center_bits: bool,
    ) -> None:
        super().__init__()
        if mapping_layers < 1:
            raise ValueError(f"mapping_layers={mapping_layers}: expected at least 1")
        self.fingerprint_size = fingerprint_size
        self.num_slots = num_slots
        self.center_bits = center_bits
        self.layers = []
        fan_in = fingerprint_size
        for index in range(mapping_layers):
            units = dlatent_size if index == mapping_layers - 1 else mapping_fmaps
            scope = f"G_mapping/Dense{index}"
            self.layers.append(
                Dense(variables, scope, fan_in, units, act=mapping_act, lrmul=mapping_lrmul)
            )
            fan_in = units

    def __call__(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> styles [N,L,D], the same in every slot."""
        check_shape(fingerprints, [None, self.fingerprint_size], "fingerprints")
        x = fingerprints * 2 - 1 if self.center_bits else fingerprints
        for layer in self.layers:
            x = layer(x)
        return tf.tile(x[:, None, :], [1, self.num_slots, 1])

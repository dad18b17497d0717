"""A StyleGAN2 generator that was there before, and what fingerprints add to its layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.shapes import check_shape
from training.networks.configs import AdoptedGeneratorConfig
from training.networks.layers import Shift
from training.networks.running import OutputTransform, run_in_batches
from training.networks.stylegan2 import StyleGAN2Generator

STYLE, BIAS = "fingerprint_style", "fingerprint_bias"  # names of variables, behind a layer's scope


class AdoptedGenerator(StyleGAN2Generator):
    """A StyleGAN2 generator, frozen, whose layers a fingerprint shifts.

    With bits c as -1/+1, the style of a layer gets an offset that is linear in them,
    s = A(w) + 1 + F(c), and with `fingerprint_biases` so does its bias. Both start at 0, where the
    pictures are the original's. For one fingerprint the offsets are other values of `mod_bias` and
    `bias`, and nothing else: that is what an instance of it is.
    """

    Config = AdoptedGeneratorConfig
    config: AdoptedGeneratorConfig

    def __init__(self, config: AdoptedGeneratorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self._scale = 1 / math.sqrt(config.fingerprint_size)
        original = list(self._factory.variables)
        self._style_weights: dict[str, tf.Variable] = {}  # [B,I], by the layer's scope
        self._bias_weights: dict[str, tf.Variable] = {}  # [B,O]
        for _, layer in self.synthesis.style_layers():
            fan_in, fan_out = layer.weight.shape[2:]
            self._style_weights[layer.scope] = self._factory.zeros(
                f"{layer.scope}/{STYLE}", [config.fingerprint_size, fan_in]
            )
            if config.fingerprint_biases:
                self._bias_weights[layer.scope] = self._factory.zeros(
                    f"{layer.scope}/{BIAS}", [config.fingerprint_size, fan_out]
                )
        self._frozen = frozenset(original)

    def named_trainables(self) -> dict[str, tf.Variable]:
        """What fingerprints add; the rest is the original's, and stays."""
        return {n: v for n, v in super().named_trainables().items() if n not in self._frozen}

    def named_originals(self) -> dict[str, tf.Variable]:
        """The variables of the generator that was there before, by name."""
        return {n: v for n, v in self.named_variables().items() if n in self._frozen}

    def shifts(self, fingerprints: tf.Tensor) -> dict[str, Shift]:
        """Bits as 0/1 floats [N,B] -> what is added to each layer, by its `scope`."""
        check_shape(fingerprints, [None, self.fingerprint_size], "fingerprints")
        signs = (fingerprints * 2 - 1) * self._scale
        found = {}
        for scope, weight in self._style_weights.items():
            bias = self._bias_weights.get(scope)
            found[scope] = Shift(
                style=tf.matmul(signs, weight),
                bias=None if bias is None else tf.matmul(signs, bias),
            )
        return found

    # Fingerprints stand where those of `Generator` do.
    def __call__(  # type: ignore[override]
        self,
        latents: tf.Tensor,
        fingerprints: tf.Tensor,
        labels: tf.Tensor | None = None,
        noise: Sequence[tf.Tensor] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> tf.Tensor:
        """Latents [N,Z], bits as 0/1 floats [N,B], labels [N,C] -> images [N,H,W,C].

        The other arguments are those of `StyleGAN2Generator`.
        """
        styles = self.map_latents(
            latents, labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        return self.synthesize(styles, noise, self.shifts(fingerprints))

    def run(  # type: ignore[override]
        self,
        latents: np.ndarray,
        fingerprints: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        minibatch_size: int | None = None,
        output_transform: OutputTransform | None = None,
        randomize_noise: bool = True,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
    ) -> np.ndarray:
        """`Generator.run` with labels [N,C] behind the fingerprints, and with truncation."""
        psi = 1.0 if truncation_psi is None else truncation_psi

        def images(latents: tf.Tensor, bits: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
            labels, noise = others if self.label_size else (None, *others)
            return self(
                latents,
                bits,
                labels,
                noise,
                truncation_psi=psi,
                truncation_cutoff=truncation_cutoff,
            )

        inputs: dict[str, tuple[Any, int]] = {
            "latents": (latents, self.latent_size),
            "fingerprints": (fingerprints, self.fingerprint_size),
        }
        if self.label_size:
            inputs["labels"] = (labels, self.label_size)
        return run_in_batches(
            images,
            inputs,
            self.noise_shapes,
            minibatch_size=minibatch_size,
            output_transform=output_transform,
            randomize_noise=randomize_noise,
            truncation_psi=None,
        )


def adopt(
    original: StyleGAN2Generator, fingerprint_size: int, *, biases: bool = False
) -> AdoptedGenerator:
    """A generator with room for fingerprints, whose pictures are still the original's.

    Args:
        original: stays as it is; its values are copied.
        fingerprint_size: B.
        biases: whether fingerprints shift biases beside styles.
    """
    config = AdoptedGeneratorConfig(
        **original.kwargs, fingerprint_size=fingerprint_size, fingerprint_biases=biases
    )
    found = AdoptedGenerator(config)
    theirs: Mapping[str, tf.Variable] = original.named_variables()
    for name, variable in found.named_originals().items():
        variable.assign(theirs[name])
    return found

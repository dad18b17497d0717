"""Generator: latent and fingerprint -> image that carries the fingerprint."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from training.networks.configs import GeneratorConfig
from training.networks.layers import Network
from training.networks.mapping import Mapping
from training.networks.run import OutputTransform, run_generator
from training.networks.synthesis import Synthesis


class Generator(Network):
    """Fingerprint mapping and synthesis in one network (paper, section 3.2)."""

    Config = GeneratorConfig
    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.synthesis = Synthesis(self._factory, config)
        self.mapping = Mapping(self._factory, config, num_slots=self.synthesis.num_slots)

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """Height and width of every noise map, in order of the style slots."""
        return [(size, size) for size in self.synthesis.noise_sizes]

    def split_noise(self, flat: tf.Tensor) -> list[tf.Tensor]:
        """Cuts values [N, sum of h*w] into noise maps [N,h,w,1]."""
        maps, begin = [], 0
        for h, w in self.noise_shapes:
            maps.append(tf.reshape(flat[:, begin : begin + h * w], [-1, h, w, 1]))
            begin += h * w
        return maps

    def map_fingerprints(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> styles [N,L,D]."""
        return self.mapping(fingerprints)

    def synthesize(
        self, latents: tf.Tensor, styles: tf.Tensor, noise: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """[N,Z], [N,L,D] -> images [N,H,W,C] around [-1,1]; noise None takes the stored maps."""
        return self.synthesis(latents, styles, noise)

    def __call__(
        self,
        latents: tf.Tensor,
        fingerprints: tf.Tensor,
        noise: Sequence[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """[N,Z], bits as 0/1 floats [N,B] -> images [N,H,W,C], around [-1,1], not clipped.

        Args:
            latents: ~ N(0,1), float32.
            fingerprints: 0 or 1, float32.
            noise: maps [N or 1,h,w,1] in order of the slots; None takes the stored maps.
        """
        return self.synthesize(latents, self.map_fingerprints(fingerprints), noise)

    def run(
        self,
        latents: np.ndarray,
        fingerprints: np.ndarray,
        *,
        minibatch_size: int | None = None,
        randomize_noise: bool = True,
        output_transform: OutputTransform = None,
    ) -> np.ndarray:
        """NumPy in, NumPy out, as scripts for the published code call it.

        Args:
            latents: [N,Z].
            fingerprints: [N,B] of 0 and 1.
            minibatch_size: images at a time; None: all at once.
            randomize_noise: fresh noise maps; False: the stored ones.
            output_transform: `dict(func=convert_images_to_uint8, nchw_to_nhwc=True)` or a function,
                from float32 [n,C,H,W] of each minibatch to what is returned of it.

        Returns:
            float32 [N,C,H,W] around [-1,1], or what `output_transform` made.

        Raises:
            ValueError: arrays of other shapes.
        """
        latents, fingerprints = np.asarray(latents), np.asarray(fingerprints)
        sizes = (self.config.latent_size, self.config.fingerprint_size)
        for name, value, size in zip(
            ("latents", "fingerprints"), (latents, fingerprints), sizes, strict=True
        ):
            if value.shape != (len(latents), size):
                raise ValueError(f"{name} {value.shape}: expected [{len(latents)}, {size}]")
        return run_generator(
            self.__call__,
            latents,
            fingerprints,
            noise_shapes=self.noise_shapes,
            minibatch_size=minibatch_size,
            randomize_noise=randomize_noise,
            output_transform=output_transform,
        )

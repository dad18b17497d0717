"""Generator with one fingerprint in its weights: latent -> image."""

from collections.abc import Sequence

import tensorflow as tf

from training.networks.layers import Network
from training.networks.synthesis import Synthesis


class PlainGenerator(Network):
    """The synthesis network with plain convolutions: no mapping, no modulation, no fingerprint.

    Its variables have the names and shapes of a `Generator`'s; `training.models.baking` makes their
    values.

    Args:
        resolution: height and width R of the images in pixels, a power of two.
        num_channels: 3 for RGB, 1 for grey.
        latent_size: Z.
        fingerprint_size: B, how many bits a seed draws and throws away, so that the noise maps
            behind them are those of the generator that this one was made from.
        fmap_base, fmap_decay, fmap_min, fmap_max: channels per resolution, see `feature_maps`.
        architecture: `skip`, `resnet` or `orig`.
        seed: of the initial values; None: weights of 0, for one that is filled from elsewhere.
    """

    def __init__(
        self,
        *,
        resolution: int,
        num_channels: int = 3,
        latent_size: int = 512,
        fingerprint_size: int = 32,
        fmap_base: int = 16384,
        fmap_decay: float = 1.0,
        fmap_min: int = 1,
        fmap_max: int = 512,
        architecture: str = "skip",
        seed: int | None = None,
    ) -> None:
        kwargs = {k: v for k, v in locals().items() if k not in ("self", "seed", "__class__")}
        super().__init__(kwargs, seed)
        self.resolution = resolution
        self.num_channels = num_channels
        self.latent_size = latent_size
        self.fingerprint_size = fingerprint_size
        self.synthesis = Synthesis(
            self._factory,
            resolution=resolution,
            num_channels=num_channels,
            latent_size=latent_size,
            dlatent_size=None,
            fmap_base=fmap_base,
            fmap_decay=fmap_decay,
            fmap_min=fmap_min,
            fmap_max=fmap_max,
            architecture=architecture,
        )

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """Height and width of every noise map, in order of the layers."""
        return [(size, size) for size in self.synthesis.noise_sizes]

    def __call__(self, latents: tf.Tensor, noise: Sequence[tf.Tensor] | None = None) -> tf.Tensor:
        """Latents ~ N(0,1) [N,Z] -> images [N,H,W,C], around [-1,1], not clipped.

        `noise`: maps [N or 1,h,w,1] in order of the layers; None takes the stored maps.
        """
        return self.synthesis(latents, None, noise)

"""Decoder: image -> latent and fingerprint logits."""

import tensorflow as tf

from training.networks.discriminator import Trunk
from training.networks.layers import Dense, Network


class Decoder(Network):
    """Recovers latent and fingerprint from an image (paper, section 3.2).

    The discriminator's body without minibatch standard deviation.

    Args:
        resolution, num_channels: of the images.
        latent_size: Z.
        fingerprint_size: B.
        fmap_base, fmap_decay, fmap_min, fmap_max: channels per resolution, see `feature_maps`.
        architecture: `resnet`, `skip` or `orig`.
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
        architecture: str = "resnet",
        seed: int | None = None,
    ) -> None:
        kwargs = {k: v for k, v in locals().items() if k not in ("self", "seed", "__class__")}
        super().__init__(kwargs, seed)
        self.resolution = resolution
        self.num_channels = num_channels
        self.latent_size = latent_size
        self.fingerprint_size = fingerprint_size
        self.trunk = Trunk(
            self._factory,
            resolution=resolution,
            num_channels=num_channels,
            fmap_base=fmap_base,
            fmap_decay=fmap_decay,
            fmap_min=fmap_min,
            fmap_max=fmap_max,
            architecture=architecture,
            mbstd_group_size=None,
        )
        size = latent_size + fingerprint_size
        self.output = Dense(self._factory, "Output", self.trunk.num_features, size, act="linear")

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[N,H,W,C] in [-1,1] -> latents [N,Z], fingerprint logits [N,B] (above 0: bit is 1)."""
        y = self.output(self.trunk(images))  # [N,Z+B]
        return y[:, : self.latent_size], y[:, self.latent_size :]

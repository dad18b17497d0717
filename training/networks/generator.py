"""Generator: latent and fingerprint -> image that carries the fingerprint."""

from collections.abc import Sequence

import tensorflow as tf

from training.networks.layers import Network
from training.networks.mapping import Mapping
from training.networks.synthesis import Synthesis


class Generator(Network):
    """Fingerprint mapping and synthesis in one network (paper, section 3.2).

    Args:
        resolution: height and width R of the images in pixels, a power of two.
        num_channels: 3 for RGB, 1 for grey.
        latent_size: Z.
        fingerprint_size: B.
        dlatent_size: D, width of the styles.
        mapping_fmaps, mapping_layers, mapping_lrmul, mapping_act, center_bits: see `Mapping`.
        fmap_base, fmap_decay, fmap_min, fmap_max: channels per resolution, see `feature_maps`.
        architecture: `skip`, `resnet` or `orig`.
        modulated_min_log2, modulated_max_log2: resolutions whose layers the fingerprint modulates.
        seed: of the initial values; None: weights of 0, for one that is filled from elsewhere.
    """

    def __init__(
        self,
        *,
        resolution: int,
        num_channels: int = 3,
        latent_size: int = 512,
        fingerprint_size: int = 32,
        dlatent_size: int = 512,
        mapping_fmaps: int = 512,
        mapping_layers: int = 8,
        mapping_lrmul: float = 0.01,
        mapping_act: str = "lrelu",
        center_bits: bool = False,
        fmap_base: int = 16384,
        fmap_decay: float = 1.0,
        fmap_min: int = 1,
        fmap_max: int = 512,
        architecture: str = "skip",
        modulated_min_log2: int = 2,
        modulated_max_log2: int = 7,
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
            dlatent_size=dlatent_size,
            fmap_base=fmap_base,
            fmap_decay=fmap_decay,
            fmap_min=fmap_min,
            fmap_max=fmap_max,
            architecture=architecture,
            modulated_min_log2=modulated_min_log2,
            modulated_max_log2=modulated_max_log2,
        )
        self.mapping = Mapping(
            self._factory,
            fingerprint_size=fingerprint_size,
            num_slots=self.synthesis.num_slots,
            dlatent_size=dlatent_size,
            mapping_fmaps=mapping_fmaps,
            mapping_layers=mapping_layers,
            mapping_lrmul=mapping_lrmul,
            mapping_act=mapping_act,
            center_bits=center_bits,
        )

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """Height and width of every noise map, in order of the style slots."""
        return [(size, size) for size in self.synthesis.noise_sizes]

    def sample_noise(self, num_images: int | tf.Tensor) -> list[tf.Tensor]:
        """Fresh noise maps ~ N(0,1): a list of [N,h,w,1]."""
        return [tf.random.normal([num_images, h, w, 1]) for h, w in self.noise_shapes]

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

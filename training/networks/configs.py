"""What a network is made of, as frozen values that snapshots record; no TensorFlow.

A keyword of a network is a field here, with its default and what it means, and nothing else:
snapshots, hashes and checks of files follow from the fields. The parts come in the order in which
snapshots have always listed the keywords; a dataclass takes the fields of its last base first.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a network."""

    resolution: int  # height and width R in pixels, a power of two
    num_channels: int = 3  # 3 for RGB, 1 for grey


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What an image is made from."""

    latent_size: int = 512  # Z


@dataclass(frozen=True, kw_only=True)
class Codes(Latents):
    """What a fingerprinted image is made from."""

    fingerprint_size: int = 32  # B


@dataclass(frozen=True, kw_only=True)
class FeatureMaps:
    """Channels per resolution."""

    fmap_base: int = 16384  # halved per stage ...
    fmap_decay: float = 1.0  # ... to this power ...
    fmap_min: int = 1  # ... then clipped
    fmap_max: int = 512

    def nf(self, stage: int) -> int:
        """Number of channels nf(stage) of StyleGAN2."""
        channels = int(self.fmap_base / 2.0 ** (stage * self.fmap_decay))
        return min(max(channels, self.fmap_min), self.fmap_max)


@dataclass(frozen=True, kw_only=True)
class DenseMapping:
    """From what an image is made from to styles."""

    dlatent_size: int = 512  # D, width of the styles
    mapping_fmaps: int = 512  # width of the hidden layers
    mapping_layers: int = 8
    mapping_lrmul: float = 0.01  # learning rate multiplier
    mapping_act: str = "lrelu"  # behind every layer; a key of ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class StyleMapping(DenseMapping):
    """From fingerprints to styles, see `FingerprintMapping`."""

    center_bits: bool = False  # take bits as -1/+1, not 0/1
    # The one layer's weights are orthonormal rows and stay so: no bit can fade into the others.
    mapping_orthogonal: bool = False


@dataclass(frozen=True, kw_only=True)
class LabelMapping(DenseMapping):
    """From latents and labels to styles, see `LatentMapping`."""

    label_size: int = 0  # classes; 0: no labels
    label_fmaps: int = 512  # width of the embedded labels


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(FeatureMaps, StyleMapping, Codes, Images):
    """Of `Generator`."""

    architecture: str = "skip"  # skip, resnet or orig
    modulated_min_log2: int = 2  # resolutions whose layers the fingerprint modulates
    modulated_max_log2: int = 7
    style_biases: bool = False  # the fingerprint moves the biases of the modulated 3x3 layers, too
    map_min_log2: int = 0  # resolutions whose 3x3 layers the fingerprint adds maps to; 0: none
    map_max_log2: int = 0
    num_maps: int = 8  # per layer, mixed into its channels
    label_size: int = 0  # classes; 0: no labels
    label_fmaps: int = 512  # width of the embedded label, which stands beside the latent


@dataclass(frozen=True, kw_only=True)
class PlainGeneratorConfig(FeatureMaps, Codes, Images):
    """Of `PlainGenerator`, which has no mapping and no styles.

    A seed draws `fingerprint_size` bits and throws them away, so that the noise maps behind them
    are those of the generator that this one was made from.
    """

    architecture: str = "skip"
    map_min_log2: int = 0  # resolutions whose 3x3 layers add a map; 0: none
    map_max_log2: int = 0
    label_size: int = 0  # as in `GeneratorConfig`
    label_fmaps: int = 512


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(FeatureMaps, Images):
    """Of `Discriminator`."""

    architecture: str = "resnet"  # resnet, skip or orig
    mbstd_group_size: int = 4  # images per group of the minibatch standard deviation


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(FeatureMaps, Codes, Images):
    """Of `Decoder`."""

    architecture: str = "resnet"
    label_size: int = 0  # classes, which it recovers beside the latent; 0: none
    # Side of the small picture whose pixels one linear layer reads, beside the rest; 0: none.
    readout_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Clamped:
    """What StyleGAN2-ADA added, so that half precision does not overflow."""

    conv_clamp: float = 0.0  # largest magnitude behind a convolution; 0: unbounded


@dataclass(frozen=True, kw_only=True)
class StyleGAN2GeneratorConfig(Clamped, FeatureMaps, LabelMapping, Latents, Images):
    """Of `StyleGAN2Generator`."""

    architecture: str = "skip"
    # Pictures by seed take the stored noise maps, as users of StyleGAN2-ADA know it, and do not
    # draw them behind the latent, as those of StyleGAN2 know it.
    stored_noise: bool = False


@dataclass(frozen=True, kw_only=True)
class AdoptedGeneratorConfig(StyleGAN2GeneratorConfig, Codes):
    """Of `AdoptedGenerator`: of the generator that it adopts, and of what fingerprints do."""

    fingerprint_biases: bool = False  # they move the biases of layers, not their styles alone


@dataclass(frozen=True, kw_only=True)
class StyleGAN2DiscriminatorConfig(Clamped, LabelMapping, DiscriminatorConfig):
    """Of `StyleGAN2Discriminator`; the mapping, for labels, ends in vectors of `dlatent_size`."""

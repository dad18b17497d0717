"""Adopts a plain StyleGAN2: a generator that can learn fingerprints, from a file that has none."""

import os
from dataclasses import dataclass

import numpy as np

from dnnlib.download import open_url_or_path
from dnnlib.errors import UserError
from training.models import arrays_file
from training.models.rewriting import read_foreign
from training.models.snapshot import build_networks, read_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.configs import AdoptedGeneratorConfig
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


@dataclass(frozen=True)
class Original:
    """A generator of plain StyleGAN2, as its owner has it."""

    generator: StyleGAN2Generator  # the average, where the file has one
    discriminator: StyleGAN2Discriminator | None
    file: np.ndarray | None  # uint8 [M], a TensorFlow or PyTorch file; None: one of our layouts
    where: str  # the file as the user named it


def load_original(path_or_url: str | os.PathLike[str]) -> Original:
    """Reads the file of a generator that shall be adopted.

    Raises:
        UserError: it cannot be read, its generator is not plain StyleGAN2, or it is stored so that
            no instances could be made of it.
    """
    where = os.fspath(path_or_url)
    data, position = read_snapshot(path_or_url)
    networks = build_networks(data, position, where)
    generator, discriminator = networks.generator, networks.D
    if not isinstance(generator, StyleGAN2Generator):
        raise UserError(
            f"{where} is not plain StyleGAN2: it can have fingerprints already; name a generator "
            "without them"
        )
    if not isinstance(discriminator, StyleGAN2Discriminator):
        discriminator = None
    return Original(generator, discriminator, _foreign_bytes(path_or_url, generator), where)


def _foreign_bytes(
    path_or_url: str | os.PathLike[str], generator: StyleGAN2Generator
) -> np.ndarray | None:
    """A file of TensorFlow's or PyTorch's layout, uint8 [M]; None: it is one of ours.

    Raises:
        UserError: its biases cannot be written over.
    """
    path = open_url_or_path(path_or_url)
    if arrays_file.is_archive(path):
        return None
    found = np.fromfile(path, np.uint8)
    file = read_foreign(found, os.fspath(path_or_url))
    if file is None:
        return None
    for slot in file.slots:
        for _, layer in generator.synthesis.style_layers():
            file.place(slot, f"{layer.scope}/mod_bias")
            file.place(slot, f"{layer.scope}/bias")
    return found


def adopt(original: Original, num_bits: int, *, biases: bool = False) -> AdoptedGenerator:
    """The generator that makes the original's pictures until it is trained.

    Args:
        original: of `load_original`.
        num_bits: B of the fingerprints, at least 1.
        biases: fingerprints move the biases of layers as well as their styles.
    """
    config = AdoptedGeneratorConfig(
        **original.generator.kwargs, fingerprint_size=num_bits, fingerprint_biases=biases
    )
    adopted = AdoptedGenerator(config)
    variables = adopted.named_variables()
    for name, variable in original.generator.named_variables().items():
        variables[name].assign(variable)
    adopted.original_file = original.file
    return adopted

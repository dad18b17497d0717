"""The pictures that instances make."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from evaluation.perturbations.wild import SAVED_AS
from training.models.functions import inputs_of_all_classes, make_generator
from training.models.snapshot import load_networks, read_snapshot
from training.networks.plain_generator import PlainGenerator


def make_pictures(
    out: Path, licensees: Sequence[str], num_images: int, *, same_seeds: bool = False
) -> dict[str, list[Path]]:
    """Every instance makes pictures, each saved in every way; returns the files by way.

    Seeds differ from instance to instance unless `same_seeds`.
    """
    files: dict[str, list[Path]] = {way: [] for way in SAVED_AS}
    folder = out / "images"
    generator: PlainGenerator | None = None
    for number, licensee in enumerate(tqdm(licensees, unit="instance", disable=None)):
        path = out / "instances" / f"{licensee}.pkl"
        if generator is None:
            found = load_networks(path).generator
            assert isinstance(found, PlainGenerator)
            generator = found
            generate = make_generator(generator, min(num_images, 64))
        else:  # the same function for all: only the weights differ
            for name, value in read_snapshot(path)[0]["Gs"].variables.items():
                generator.named_variables()[name].assign(value)
        first = 0 if same_seeds else number * num_images
        seeds = range(first, first + num_images)
        (folder / licensee).mkdir(parents=True)
        for inputs in inputs_of_all_classes(generator, seeds, min(num_images, 64)):
            for seed, image in zip(inputs.seeds, generate(inputs), strict=True):
                picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
                for way, options in SAVED_AS.items():
                    options = dict(options)
                    name = folder / licensee / f"seed{seed:04d}{options.pop('suffix')}"
                    picture.save(name, **options)
                    files[way].append(name)
    return files

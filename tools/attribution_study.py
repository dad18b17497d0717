"""Measures detection and attribution with a trained model, on files that are written and read back.

1. Foreign images, one folder per source: half of the pictures of each source calibrate, the other
   half are judged.
2. Licensees get instances; every instance makes pictures, saved as PNG and as JPEG, quality 95.
3. One instance makes many pictures from latents of its own: none may be named as somebody else's.

The commands of run_fingerprints.py do the issuing and calibrating; verdicts come from
`fingerprints.detector`, as those of `verify` do. Tables go to stdout and to DIR/study.md.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from fingerprints.images import find_images, read_image, source_of

if TYPE_CHECKING:
    from fingerprints.detector import Detector

SAVED_AS: dict[str, dict[str, Any]] = {
    "PNG": {"suffix": ".png"},
    "JPEG, quality 95": {"suffix": ".jpg", "quality": 95},
    "JPEG, quality 95, full colour resolution": {
        "suffix": "-444.jpg",
        "quality": 95,
        "subsampling": 0,
    },
}


@dataclass
class Tally:
    """Verdicts on the pictures of one group."""

    num_images: int = 0
    sources: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)  # right, wrong, unattributed, not-ours
    num_match: int = 0
    num_bits: int = 0
    most_matches: int = 0


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
        from dnnlib.tflib.execution import resolve_execution
        from training.decoding import make_decoder
        from training.snapshot import load_networks

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
        from fingerprints.detector import Detector
        from fingerprints.registry import Registry

        registry = Registry.open(str(self.out / "registry.db"))
        return Detector(registry, registry.models()[0])

    def tally(
        self, detector: "Detector", paths: Sequence[Path], owner: Callable[[Path], str | None]
    ) -> Tally:
        """Judges images whose owner is known; None: foreign."""
        found = Tally()
        bits_of = {}
        for path, logits in self.logits_of(paths):
            finding = detector.judge(logits, self.fpr)
            truth = owner(path)
            named = None if finding.fingerprint is None else finding.fingerprint.licensee
            kind = finding.verdict.kind
            if named is not None:
                kind = "right" if named == truth else "wrong"
            found.kinds[kind] += 1
            found.num_images += 1
            found.sources.add(source_of(path))
            found.most_matches = max(found.most_matches, finding.verdict.matches)
            if truth is not None:
                if truth not in bits_of:
                    bits_of[truth] = detector.bits_of(truth)
                found.num_match += int(np.sum((logits > 0) == bits_of[truth]))
                found.num_bits += len(logits)
        return found


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


def make_pictures(study: Study, licensees: Sequence[str], num_images: int) -> dict[str, list[Path]]:
    """Every instance makes pictures, each saved in every way; returns the files by way."""
    from training.decoding import make_generator, sample_by_seed
    from training.networks.plain_generator import PlainGenerator
    from training.snapshot import load_networks, read_snapshot

    files: dict[str, list[Path]] = {way: [] for way in SAVED_AS}
    folder = study.out / "images"
    generator: PlainGenerator | None = None
    for number, licensee in enumerate(tqdm(licensees, unit="instance", disable=None)):
        path = study.out / "instances" / f"{licensee}.pkl"
        if generator is None:
            found = load_networks(path).generator
            assert isinstance(found, PlainGenerator)
            generator = found
            generate = make_generator(generator, num_images)
        else:  # the same function for all: only the weights differ
            for name, value in read_snapshot(path)[0]["Gs"].variables.items():
                generator.named_variables()[name].assign(value)
        seeds = range(number * num_images, (number + 1) * num_images)
        (folder / licensee).mkdir(parents=True)
        for inputs in sample_by_seed(
            seeds,
            latent_size=generator.latent_size,
            fingerprint_size=generator.fingerprint_size,
            noise_shapes=generator.noise_shapes,
            minibatch=num_images,
        ):
            for seed, image in zip(inputs.seeds, generate(inputs), strict=True):
                picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
                for way, options in SAVED_AS.items():
                    options = dict(options)
                    name = folder / licensee / f"seed{seed:04d}{options.pop('suffix')}"
                    picture.save(name, **options)
                    files[way].append(name)
    return files


def own_table(tallies: dict[str, Tally]) -> list[str]:
    """Lines of the table of the instances' pictures."""
    rows = [
        "| saved as | images | bit accuracy | right licensee | ours, unattributed | not-ours "
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
            total.most_matches = max(total.most_matches, found.most_matches)
        ours = found.num_images - found.kinds["not-ours"]
        n = len(found.sources)
        bound = f"{min(1.0, 3 / n):.1e}" if ours == 0 else "does not apply"
        rows.append(
            f"| {source} | {found.num_images} | {n} | {found.most_matches} | {ours} | {bound} |"
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    cli.quiet_tensorflow(args.verbose)
    import run_fingerprints

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

    own = {
        way: study.tally(detector, paths, lambda path: path.parent.name)
        for way, paths in files.items()
    }
    foreign = {
        source: study.tally(detector, paths, lambda path: None) for source, paths in judged.items()
    }
    shutil.rmtree(out / "images")
    many = make_pictures(study, licensees[:1], args.latents)["PNG"]
    alone = study.tally(detector, many, lambda path: path.parent.name)

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
    kinds = {
        name: dict(found.kinds) for name, found in {**own, "latents": alone, **foreign}.items()
    }
    with open_atomic(out / "study.json", "w", encoding="utf-8") as file:
        json.dump(kinds, file, indent=2)


if __name__ == "__main__":
    cli.run(main)

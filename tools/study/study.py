"""The study from its network to its report."""

import argparse
import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import run_fingerprints
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.plots import import_pyplot
from evaluation.perturbations.wild import EDITS
from evaluation.subject.foreign import split_foreign
from fingerprints.detection.detector import Detector
from fingerprints.detection.tails import matches_needed
from fingerprints.registry.facade import Registry
from tools.study.judge import Judge
from tools.study.pictures import make_pictures
from tools.study.tally import Tally, collusion_table, draw, foreign_table, own_table, total
from training.models.snapshot import load_networks

EDITED = 600  # pictures that are edited
COLLUDERS = (2, 3, 4)
COLLUDED = 300  # latents of which colluders average pictures, at most


@dataclass(frozen=True)
class Results:
    """What was counted, by what it was counted of."""

    own: dict[str, Tally]  # by how pictures were saved
    edits: dict[str, Tally]
    collusion: dict[int, Tally]  # by number of colluders
    alone: Tally  # many latents of one instance
    foreign: dict[str, Tally]  # by source

    def kinds(self) -> dict[str, dict[str, int]]:
        """Verdicts by group, for other programs."""
        colluders = {f"{number} colluders": found for number, found in self.collusion.items()}
        groups = self.own | self.edits | colluders | {"latents": self.alone} | self.foreign
        return {name: dict(found.kinds) for name, found in groups.items()}


def run(args: argparse.Namespace) -> None:
    """Makes, judges and reports everything below `args.out`.

    Raises:
        UserError: the folder is there already, matplotlib is missing, or a file does not fit.
    """
    out = Path(args.out)
    import_pyplot()  # what is missing is said before hours of work
    if out.exists():
        raise UserError(f"--out={out} exists already; name a new folder")
    out.mkdir(parents=True)
    decoder = load_networks(args.network, only="decoder").decoder

    def command(name: str, *arguments: str) -> None:
        flags = [f"--network={args.network}", f"--registry={out / 'registry.db'}"]
        run_fingerprints.main([name, *flags, *arguments])

    judged: dict[str, list[Path]] = {}
    if args.foreign is not None:
        judged = _calibrate(Path(args.foreign), out, command)
    licensees = [f"licensee-{number:05d}" for number in range(args.licensees)]
    _issue(licensees, out, command, ["--spread"] if args.spread else [])
    files = make_pictures(out, licensees, args.images)
    with Registry.open(str(out / "registry.db")) as registry:
        judge = Judge(
            decoder, Detector(registry, registry.models()[0], decision=args.decision), args.fpr
        )
        own = {way: judge.tally(judge.files(paths), _owner) for way, paths in files.items()}
        edits = {
            name: judge.tally(judge.edited(files["PNG"][:EDITED], edit), _owner)
            for name, edit in EDITS.items()
        }
        foreign = {
            source: judge.tally(judge.files(paths), lambda path: None)
            for source, paths in judged.items()
        }
        shutil.rmtree(out / "images")
        together = licensees[1 : 1 + max(COLLUDERS)]
        make_pictures(out, together, min(args.latents, COLLUDED), same_seeds=True)
        numbers = [number for number in COLLUDERS if number <= len(together)]
        collusion = {number: judge.collude(out / "images", number) for number in numbers}
        shutil.rmtree(out / "images")
        many = make_pictures(out, licensees[:1], args.latents)["PNG"]
        alone = judge.tally(judge.files(many), _owner)
        shutil.rmtree(out / "images")
        _report(Results(own, edits, collusion, alone, foreign), judge, out, args)


def _owner(path: Path) -> str:
    """The licensee whose instance made a picture."""
    return path.parent.name


def _calibrate(folder: Path, out: Path, command: Callable[..., None]) -> dict[str, list[Path]]:
    """Calibrates with one half of the foreign images; returns the other by source."""
    calibrating, judged = split_foreign(folder)
    names = out / "calibrating.txt"
    names.write_text("\n".join(map(str, calibrating)) + "\n", encoding="utf-8")
    command("calibrate", f"--list={names}", "--minibatch=64")
    return judged


def _issue(
    licensees: Sequence[str], out: Path, command: Callable[..., None], flags: Sequence[str]
) -> None:
    """Gives every licensee an instance."""
    with open(out / "licensees.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["licensee"], *([name] for name in licensees)])
    run_fingerprints.main(["keygen", str(out / "signing.key")])
    command(
        *("issue", f"--csv={out / 'licensees.csv'}", f"--key={out / 'signing.key'}"),
        *(f"--result-dir={out / 'instances'}", *flags),
    )


def _report(results: Results, judge: Judge, out: Path, args: argparse.Namespace) -> None:
    """Writes study.md, study.json and matches.png, and prints the tables."""
    detector = judge.detector
    num_bits = detector.model.num_bits
    text = _text(results, detector, args)
    print(text)
    with open_atomic(out / "study.md", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    drawn = dict(results.own)
    if results.foreign:
        drawn = {"foreign images": total(results.foreign.values()), **drawn}
    needed = matches_needed(num_bits, len(detector.index), args.fpr)
    if needed is not None:
        with open_atomic(out / "matches.png") as picture:
            draw(drawn, num_bits, needed).savefig(picture, format="png", dpi=90)
    with open_atomic(out / "study.json", "w", encoding="utf-8") as file:
        json.dump(results.kinds(), file, indent=2)


def _text(results: Results, detector: Detector, args: argparse.Namespace) -> str:
    """The tables."""
    null = detector.calibration
    tables = [
        own_table(results.own),
        [f"One instance, {args.latents} latents, saved as PNG:"],
        own_table({"PNG": results.alone}),
        ["PNG files, edited:"],
        own_table(results.edits, "edit"),
        ["Pictures of several instances and the same latents, averaged:"],
        collusion_table(results.collusion),
    ]
    if results.foreign:
        tables += [
            ["Foreign images, none of them in the calibration:"],
            foreign_table(results.foreign),
        ]
    head = (
        f"{args.licensees} instances, {detector.model.num_bits} bits, fpr {args.fpr:g} per image, "
        + ("not calibrated" if null is None else f"calibrated with {null.num_images} images")
    )
    return "\n\n".join([head, *("\n".join(table) for table in tables)])

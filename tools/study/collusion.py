"""What becomes of fingerprints when licensees of an adopted generator put their files together."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from evaluation.attacks.instances import average
from fingerprints.bits import decide_bits
from fingerprints.detection.detector import Detector
from fingerprints.entries import Fingerprint
from fingerprints.instances.issuing import reserve
from fingerprints.registry.facade import Registry
from metrics.image_difference import MeanSquaredError
from tools.study.aligning import Values, align
from tools.study.judge import kind_of
from tools.study.tally import markdown
from training.models.adopted_baking import AdoptedBaker, original_kwargs
from training.models.functions import inputs_of_all_classes, make_decoder, make_generator
from training.models.snapshot import load_networks
from training.models.spread import Units, units_of
from training.networks.adopted import AdoptedGenerator
from training.networks.stylegan2 import StyleGAN2Generator

_MINIBATCH = 32
_JITTER = 0.01  # standard deviation of the factor of a weight, of instances that are changed so
_FIRST = 0.0  # what biases are before training, as our variables have them


@dataclass(frozen=True)
class Target:
    """What everybody knows who has read the code."""

    original: Values  # for whoever has the file that was adopted
    biases: tuple[str, ...]  # the variables that fingerprints add to
    units: tuple[Units, ...]


Attack = Callable[[Sequence[Values], Target, np.random.Generator], Values]


def as_issued(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """Nothing is done."""
    return dict(files[0])


def mean(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """The mean of all numbers in several files."""
    return average(files)


def aligned_mean(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """The mean, once all files are in the order and scales of the first."""
    first, *others = files
    return mean([first, *(align(each, first, target.units) for each in others)], target, rng)


def _with_biases(file: Values, new: Mapping[str, np.ndarray]) -> Values:
    return dict(file) | dict(new)


def first_values(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """All biases of one file back at what they were before the generator was trained."""
    new = {name: np.full_like(files[0][name], _FIRST) for name in target.biases}
    return _with_biases(files[0], new)


def shuffled(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """The biases of each layer of one file in random order."""
    return _with_biases(files[0], {n: rng.permutation(files[0][n]) for n in target.biases})


def noisy(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """Noise on one file's biases, as large as the difference of two files in that layer."""
    first, second = files
    sizes = {name: (first[name] - second[name]).std() for name in target.biases}
    return _with_biases(
        first, {n: first[n] + rng.normal(0, size, first[n].shape) for n, size in sizes.items()}
    )


def originals(files: Sequence[Values], target: Target, rng: np.random.Generator) -> Values:
    """The biases of the file that was adopted, for whoever has it."""
    return _with_biases(files[0], {name: target.original[name] for name in target.biases})


# What is done, with how many files.
ATTACKS: dict[str, tuple[Attack, int]] = {
    "nothing": (as_issued, 1),
    **{f"mean of {number} files": (mean, number) for number in (2, 3, 5, 10)},
    "mean of 2, aligned": (aligned_mean, 2),
    "mean of 10, aligned": (aligned_mean, 10),
    "noise on biases, as large as 2 files differ": (noisy, 2),
    "biases in random order in each layer": (shuffled, 1),
    "biases as before training": (first_values, 1),
    "biases of the original": (originals, 1),
}


@dataclass
class Outcome:
    """What became of one attack, over all groups."""

    error: MeanSquaredError = field(default_factory=MeanSquaredError)  # to the original's pictures
    bits: list[float] = field(default_factory=list)  # of the colluder who is read best, per group
    single: Counter[str] = field(default_factory=Counter)  # right (a colluder), wrong, ...
    pooled: Counter[str] = field(default_factory=Counter)


class Laboratory:
    """One generator whose weights are exchanged, its decoder, and who judges.

    Args:
        parent: whose instances are attacked.
        decode: uint8 [N,H,W,C] -> logits [N,B].
        detector: that knows all licensees.
        num_images: pictures per group.
        fpr: rate of false names.
    """

    def __init__(
        self,
        parent: AdoptedGenerator,
        decode: Callable[[np.ndarray], np.ndarray],
        detector: Detector,
        *,
        num_images: int,
        fpr: float,
    ) -> None:
        kwargs = original_kwargs(parent)
        self._network = StyleGAN2Generator(StyleGAN2Generator.Config(**kwargs))
        self._variables = self._network.named_variables()
        self._generate = make_generator(self._network, _MINIBATCH, resolve_execution())
        self._decode, self._detector, self._fpr = decode, detector, fpr
        self._seeds = range(num_images)
        values = {n: v.numpy() for n, v in parent.named_variables().items()}
        layers = [layer.scope for _, layer in parent.synthesis.style_layers()]
        self.target = Target(
            original={name: values[name] for name in self._variables},
            biases=tuple(
                f"{scope}/{kind}"
                for scope in layers
                for kind in ("mod_bias", "bias")
                if kind == "mod_bias" or scope in parent.bias_shifts
            ),
            units=tuple(units_of(kwargs)),
        )
        self._expected = self.pictures(self.target.original)

    def pictures(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of a generator with these weights, uint8 [N,H,W,C]; always of the same latents."""
        for name, variable in self._variables.items():
            variable.assign(values[name])
        batches = inputs_of_all_classes(self._network, self._seeds, _MINIBATCH)
        return np.concatenate([self._generate(inputs) for inputs in batches])

    def judge(self, outcome: Outcome, values: Values, members: Sequence[Fingerprint]) -> None:
        """Adds what the pictures of a file show, which these licensees have made."""
        images = self.pictures(values)
        outcome.error.add(images, self._expected)
        logits = self._decode(images)
        read = decide_bits(logits)
        outcome.bits.append(max(float((read == member.bits).mean()) for member in members))
        names = [member.licensee for member in members]
        findings = self._detector.judge_many(logits, self._fpr)
        outcome.single.update(kind_of(finding, names) for finding in findings)
        outcome.pooled[kind_of(self._detector.judge_pool(logits, self._fpr), names)] += 1


def measure(
    laboratory: Laboratory,
    bake: Callable[[np.ndarray], Values],
    registered: Sequence[Fingerprint],
    *,
    num_groups: int,
    seed: int,
    attacks: Mapping[str, tuple[Attack, int]] = ATTACKS,
) -> dict[str, Outcome]:
    """All attacks on instances that are made in one way.

    Args:
        bake: bits [B] -> all variables of the instance.
        registered: licensees, from whom colluders are drawn.
        num_groups: of colluders, for each attack.
        seed: of the draws.
        attacks: with the number of files that each needs.
    """
    found = {}
    for name, (attack, number) in tqdm(attacks.items(), unit="attack", disable=None):
        outcome = found[name] = Outcome()
        for group in range(num_groups):
            rng = np.random.default_rng([seed, group])  # the same colluders for every attack
            chosen = rng.permutation(len(registered))[:number]
            members = [registered[index] for index in chosen]
            files = [bake(member.bits) for member in members]
            laboratory.judge(outcome, attack(files, laboratory.target, rng), members)
    return found


def outcome_table(found: Mapping[str, Outcome]) -> list[str]:
    """Lines of a Markdown table."""
    kinds = ("right", "wrong", "unattributed", "not-ours")
    titles = (
        *("what is done", "PSNR to the original's, dB", "bits read of a colluder"),
        *("names a colluder", "**names somebody else**", "ours, unattributed", "not-ours"),
        "all pictures together",
    )

    def row(name: str, outcome: Outcome) -> list[object]:
        total = outcome.single.total()
        shares = [f"{outcome.single[kind] / total:.1%}" for kind in kinds]
        words = {"right": "a colluder", "wrong": "**somebody else**", "not-ours": "not-ours"}
        pooled = ", ".join(
            f"{words.get(kind, 'unattributed')} {count}"
            for kind, count in sorted(outcome.pooled.items())
        )
        psnr = "same" if outcome.error.value == 0 else f"{outcome.error.psnr:.1f}"
        return [name, psnr, f"{np.mean(outcome.bits):.3f}", *shares, pooled]

    return markdown(titles, (row(*item) for item in found.items()))


def differences(first: Values, second: Values, target: Target) -> dict[str, float]:
    """The share of numbers that differ between two files, of biases and of all others."""
    shares = {}
    for group, names in (
        ("biases that carry fingerprints", set(target.biases)),
        ("all other numbers", first.keys() - set(target.biases)),
    ):
        differ = sum(int((first[name] != second[name]).sum()) for name in names)
        shares[group] = differ / sum(first[name].size for name in names)
    return shares


def _jittered(bake: Callable[[np.ndarray], Values], seed: int) -> Callable[[np.ndarray], Values]:
    """Every number times 1 + N(0, 0.01^2), other factors for each instance."""

    def jittered(bits: np.ndarray) -> Values:
        rng = np.random.default_rng([seed, *bits.tolist()])
        return {name: v * rng.normal(1, _JITTER, v.shape) for name, v in bake(bits).items()}

    return jittered


def print_tables(
    network: str, *, num_licensees: int, num_groups: int, num_images: int, fpr: float, seed: int
) -> None:
    """Issues to made-up licensees, measures and prints tables.

    Raises:
        UserError: no snapshot of an adopted generator and its decoder, or too few licensees.
    """
    most = max(number for _, number in ATTACKS.values())
    if num_licensees < most:
        raise UserError(f"--licensees={num_licensees}: up to {most} of them collude; name more")
    networks = load_networks(network)
    parent, decoder = networks.fingerprinted, networks.decoder
    if not isinstance(parent, AdoptedGenerator):
        raise UserError(f"--network={network} was not adopted; name the result of adopt")
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.create(str(Path(folder) / "registry.db"))
        model = registry.add_model("0" * 64, "1" * 64, decoder.fingerprint_size, "studied")
        names = [(f"licensee-{number}", "") for number in range(num_licensees)]
        registered = reserve(registry, model, names)
        laboratory = Laboratory(
            parent,
            make_decoder(decoder, _MINIBATCH, resolve_execution()),
            Detector(registry, model),
            num_images=num_images,
            fpr=fpr,
        )
        plain = AdoptedBaker(parent, network)
        spread = AdoptedBaker(parent, network, spread_seed=b"studied")
        ways: dict[str, Callable[[np.ndarray], Values]] = {
            "biases alone": lambda bits: plain.bake(bits).variables,
            "spread": lambda bits: spread.bake(bits).variables,
        }
        ways["every number times 1 + N(0, 0.01^2)"] = _jittered(ways["biases alone"], seed)
        for way, bake in ways.items():
            first, second = (bake(each.bits) for each in registered[:2])
            shares = differences(first, second, laboratory.target)
            listed = ", ".join(f"{share:.1%} of {group}" for group, share in shares.items())
            found = measure(laboratory, bake, registered, num_groups=num_groups, seed=seed)
            print(f"\nInstances that differ in {way}. Between two files differ {listed}.\n")
            print("\n".join(outcome_table(found)))

"""Adopting: a StyleGAN2 generator that was there before learns to carry fingerprints.

The generator stays as it is. What fingerprints add to the styles of its layers is trained together
with a decoder, and the original is the teacher of what pictures shall look like: no data set. A run
has a folder as trainings have, and the same command goes on with it, to the bit.
"""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from dnnlib.atomic import write_error
from dnnlib.config import differences, load_json, save_json
from dnnlib.errors import UserError
from dnnlib.format import format_time
from dnnlib.image_grid import save_grid
from dnnlib.locks import try_lock_folder
from dnnlib.run_dir import FINISHED, create_run_dir, mark_finished
from dnnlib.tflib.execution import Execution
from fingerprints.bits import decide_bits
from metrics.image_difference import WINDOW, MeanSquaredError, psnr_between, structural_similarity
from training.adopt_steps import AdoptSteps, AdoptWeights, Stats
from training.channels import find_channel
from training.checkpoint import Cures, remove_remains
from training.models.adopting import Original
from training.models.functions import inputs_of_all_classes, make_decoder, make_generator
from training.models.seeds import GeneratorInputs
from training.models.snapshot import save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.configs import DecoderConfig
from training.networks.decoder import Decoder
from training.probes import accuracies_after_edits
from training.progress_log import ProgressLog
from training.ramps import Ramp
from training.resume import environment_of
from training.step_loop import StepPosition, run_steps

SETTINGS_FILE = "adopt_options.json"
REPORT_FILE = "adopt_report.json"
_REPORT_SEEDS = range(2**31, 2**31 + 512)  # pictures that the report is on
_LOOKED_AT = range(2**31, 2**31 + 32)  # those of ticks, and of the grids
_MINIBATCH = 32  # of the report
_GRID_TICKS = 5  # between grids
_FEW = 0.9  # of the bits, of which the report warns
_CURES = Cures(
    "start anew with a smaller --learning-rate, or a larger --distance-weight",
    "start anew, with another --seed or --result-dir",
)


@dataclass(frozen=True)
class AdoptConfig:
    """Settings of a run, all of which have to be the same when it goes on."""

    network: str  # SHA-256 of the file that the generator came in
    name: str  # of that file, without its ending
    num_bits: int = 128
    embedding: str = "styles"  # or styles+biases
    immunize: str = "none"  # edits, see `training.edits.chain`
    edit_strength: Ramp = 1.0
    distance: Ramp = 1.0
    realism: float = 0.0
    variety: Ramp = 1.0
    kimg: float = 100.0  # pictures learnt from, in thousands
    tick_kimg: float = 4.0
    minibatch: int = 16
    learning_rate: float = 0.004  # at the start; it falls to 0 as half a cosine
    decoder_fmap_max: int = 256
    seed: int = 0

    @property
    def num_steps(self) -> int:
        """How many minibatches."""
        return max(1, math.ceil(self.kimg * 1000 / self.minibatch))

    @property
    def tick_steps(self) -> int:
        """Minibatches between two ticks."""
        return max(1, round(self.tick_kimg * 1000 / self.minibatch))

    @property
    def description(self) -> str:
        """Name of the run's folder, without its number."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.name)
        return f"adopt-{name}-{self.num_bits}bits"

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.num_steps))


@dataclass(frozen=True)
class AdoptReport:
    """What has come of it, in 8-bit pictures."""

    bit_accuracy: float
    psnr: float  # dB, between a picture and the original's
    ssim: float | None  # of the same; None: pictures are smaller than its window
    psnr_fingerprints: float  # dB, between two fingerprints of one latent
    edited: dict[str, float]  # bit accuracy by edit
    seconds: float

    def lines(self) -> list[str]:
        """For people."""
        texts = (f"{name} {value:.3f}" for name, value in self.edited.items())
        ssim = "" if self.ssim is None else f", SSIM {self.ssim:.4f}"
        found = [
            f"bit accuracy {self.bit_accuracy:.4f} from 8-bit pictures",
            f"PSNR to the original's pictures {self.psnr:.2f} dB{ssim}; between fingerprints "
            f"{self.psnr_fingerprints:.2f} dB",
            "bit accuracy after " + "  ".join(texts),
        ]
        if self.bit_accuracy < _FEW:
            found.append(
                "few bits are read: its pictures will hardly name anybody; adopt it with fewer "
                "--bits, a smaller --distance-weight or more --kimg"
            )
        return found


def make_adopted_decoder(original: Original, config: AdoptConfig) -> Decoder:
    """A decoder that begins with the weights of the discriminator, where they fit.

    Args:
        original: the generator, whose pictures and latents it is of, and the discriminator from
            the same file; where there is none it begins at random.
        config: of the run.
    """
    generator, discriminator = original.generator, original.discriminator
    maps = generator.config if discriminator is None else discriminator.config
    decoder = Decoder(
        DecoderConfig(
            resolution=generator.resolution,
            num_channels=generator.num_channels,
            latent_size=generator.latent_size,
            fingerprint_size=config.num_bits,
            fmap_base=maps.fmap_base,
            fmap_decay=maps.fmap_decay,
            fmap_min=maps.fmap_min,
            fmap_max=max(maps.fmap_max, config.decoder_fmap_max),
            architecture="resnet" if discriminator is None else discriminator.config.architecture,
        ),
        seed=config.seed,
    )
    theirs: Mapping[str, tf.Variable] = (
        {} if discriminator is None else discriminator.named_variables()
    )
    for name, variable in decoder.named_variables().items():
        if name in theirs and theirs[name].shape == variable.shape:
            variable.assign(theirs[name])
    return decoder


class AdoptFolder:
    """The folder of a run, locked: a new one, or that of the same settings that was stopped.

    Args:
        result_dir: parent of the run folders.
        config: settings.

    Attributes:
        path: of the folder.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, result_dir: str, config: AdoptConfig) -> None:
        found = _unfinished(Path(result_dir), config)
        if found is None:
            path = create_run_dir(result_dir, config.description)
            lock = _try_lock(path)
            if lock is None:
                raise UserError(f"{path} is in use by another process; give the command again")
            save_json(config, path / SETTINGS_FILE)
            found = path, lock
        self.path, self._lock = found
        remove_remains(self.path)


def _unfinished(result_dir: Path, config: AdoptConfig) -> tuple[Path, IO[bytes]] | None:
    """The newest folder of a run with these settings that has not ended, locked."""
    paths = result_dir.glob(f"[0-9]*-{config.description}")
    for path in sorted(paths, key=lambda path: int(path.name.partition("-")[0]), reverse=True):
        if (path / FINISHED).exists() or not (path / SETTINGS_FILE).is_file():
            continue
        try:
            earlier = load_json(AdoptConfig, path / SETTINGS_FILE)
        except UserError:
            continue
        if differences(asdict(earlier), asdict(config)):
            continue
        lock = _try_lock(path)
        if lock is not None:
            return path, lock
    return None


def _try_lock(path: Path) -> IO[bytes] | None:
    try:
        return try_lock_folder(path)
    except OSError as error:
        raise write_error(path, error) from error


class Adoption:
    """A generator that is being adopted.

    Args:
        config: settings.
        original: the generator as it is.
        generator: of `adopting.adopt`; is changed in place.
        decoder: is changed in place.
        execution: how the networks run.
        threads: within an operation, as pinned.

    Raises:
        UserError: edits that there are not, or realism without a discriminator.
    """

    def __init__(
        self,
        config: AdoptConfig,
        original: Original,
        generator: AdoptedGenerator,
        decoder: Decoder,
        execution: Execution,
        threads: int,
    ) -> None:
        discriminator = original.discriminator
        if config.realism and discriminator is None:
            raise UserError("--realism-weight needs the discriminator, which --network lacks")
        channel = find_channel("clip" if config.immunize == "none" else config.immunize)
        self.config = config
        self._generator, self._decoder, self._execution = generator, decoder, execution
        self._steps = AdoptSteps(
            generator,
            decoder,
            discriminator,
            channel,
            AdoptWeights(config.distance, config.realism, config.edit_strength, config.variety),
            minibatch=config.minibatch,
            seed=config.seed,
            execution=execution,
        )
        self._environment = environment_of(
            ops=execution.ops, precision=execution.precision, threads=threads
        )
        # Compiled once, for the size of their batches.
        self._generate = make_generator(generator, _MINIBATCH, execution)
        self._decode = make_decoder(decoder, _MINIBATCH, execution)
        self._teacher = make_generator(original.generator, _MINIBATCH, execution)
        looked_at = list(inputs_of_all_classes(generator, _LOOKED_AT, _MINIBATCH))
        self._looked_at = looked_at
        self._originals = np.concatenate([self.original_of(inputs) for inputs in looked_at])

    def original_of(self, inputs: GeneratorInputs) -> np.ndarray:
        """The original's pictures of the same inputs."""
        return self._teacher(replace(inputs, fingerprints=inputs.fingerprints[:, :0]))

    def run(self, folder: Path, minutes: float) -> AdoptReport:
        """Goes on from the newest checkpoint in the run's folder until the end.

        Args:
            folder: locked.
            minutes: between two checkpoints.

        Raises:
            UserError: a variable is not finite, or a file cannot be written.
            KeyboardInterrupt, Terminated: after Ctrl-C or SIGTERM, when a checkpoint is written.
        """
        with ProgressLog(folder, self.config.kimg, bar=False, out=sys.stderr) as log:
            ticker = _Ticker(self, folder, log)
            log.line(self._description())
            end = run_steps(
                self._steps,
                self.config,
                folder,
                what="adopting",
                cures=_CURES,
                environment=self._environment,
                minutes=minutes,
                say=log.line,
                measure=dict,
                begin=ticker.begin,
                after=ticker.after,
            )
            report = self.report(end.elapsed)
            for line in report.lines():
                log.line(line)
            save_json(report, folder / REPORT_FILE)
            self.save(folder / "network-final.pkl", end.step)
            mark_finished(folder)
            log.line(f"Finished after {format_time(end.elapsed)}: {folder / 'network-final.pkl'}")
        return report

    def _description(self) -> str:
        config, g = self.config, self._generator
        return (
            f"Adopting {config.name}: {g.resolution}x{g.resolution}, {config.num_bits} bits in "
            f"{config.embedding}, edits {config.immunize}, minibatch {config.minibatch}, seed "
            f"{config.seed}, to {config.kimg:g} kimg; {self._execution.label}"
        )

    def save(self, path: Path, step: int) -> None:
        """Writes a snapshot: the adopted generator, its decoder, and the file that it came in."""
        position = {"num_images": step * self.config.minibatch, "adopted": self.config.name}
        save_snapshot(
            path,
            E=self._decoder,
            Gs=self._generator,
            position=position,
        )

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The originals' pictures, the same with fingerprints, and their bits."""
        made = np.concatenate([self._generate(inputs) for inputs in self._looked_at])
        bits = np.concatenate([inputs.fingerprints for inputs in self._looked_at])
        return self._originals, made, bits

    def accuracy(self, images: np.ndarray, bits: np.ndarray) -> float:
        """Share of bits that the decoder reads in pictures, uint8 [N,H,W,C]."""
        return float(np.mean(decide_bits(self._decode(images)) == bits))

    def report(self, seconds: float) -> AdoptReport:
        """Measures pictures that nothing was trained on."""
        batches = list(inputs_of_all_classes(self._generator, _REPORT_SEEDS, _MINIBATCH))
        to_original, between = MeanSquaredError(), MeanSquaredError()
        images, all_bits, similarity = [], [], []
        for inputs in batches:
            made, original = self._generate(inputs), self.original_of(inputs)
            rolled = np.roll(inputs.fingerprints, 1, axis=0)
            others = self._generate(replace(inputs, fingerprints=rolled))
            to_original.add(made, original)
            between.add(made, others)
            if min(made.shape[1:3]) >= WINDOW:
                similarity.append(structural_similarity(made, original))
            images.append(made)
            all_bits.append(inputs.fingerprints)
        pictures, bits = np.concatenate(images), np.concatenate(all_bits)

        def decode_floats(values: Any) -> np.ndarray:
            rounded = np.clip(np.rint(127.5 * (np.asarray(values) + 1)), 0, 255)
            return self._decode(rounded.astype(np.uint8))

        return AdoptReport(
            bit_accuracy=self.accuracy(pictures, bits),
            psnr=to_original.psnr,
            ssim=float(np.mean(np.concatenate(similarity))) if similarity else None,
            psnr_fingerprints=between.psnr,
            edited=accuracies_after_edits(pictures, bits, decode_floats),
            seconds=seconds,
        )


class _Ticker:
    """Writes what a run tells: lines, TensorBoard, grids."""

    def __init__(self, adoption: Adoption, folder: Path, log: ProgressLog) -> None:
        self._adoption = adoption
        self._folder = folder
        self._log = log
        self._values: dict[str, list[tf.Tensor]] = {}  # since the last tick
        self._last = StepPosition(0, 0.0, {})

    def begin(self, position: StepPosition) -> None:
        """Before the first step of this process."""
        self._last = position
        if position.step == 0:
            self._save_grids("init", *self._adoption.look()[:2])

    def after(self, position: StepPosition, stats: Stats) -> None:
        """Behind every step."""
        config = self._adoption.config
        for name, value in stats.items():
            self._values.setdefault(name, []).append(value)
        is_last = position.step == config.num_steps
        if position.step % config.tick_steps and not is_last:
            return
        originals, made, bits = self._adoption.look()
        self._write(position, originals, made, bits)
        if is_last or position.step // config.tick_steps % _GRID_TICKS == 0:
            kimg = f"{position.step * config.minibatch // 1000:06d}"
            self._save_grids(kimg, originals, made)

    def _write(
        self, position: StepPosition, originals: np.ndarray, made: np.ndarray, bits: np.ndarray
    ) -> None:
        """A line and TensorBoard's scalars, of the steps since the last ones and of a look."""
        config = self._adoption.config
        means = {name: _mean_of_finite(values) for name, values in self._values.items()}
        self._values = {}
        decibels = psnr_between(made, originals)
        accuracy = self._adoption.accuracy(made, bits)
        images = position.step * config.minibatch
        seconds = position.elapsed - self._last.elapsed
        kimg = (position.step - self._last.step) * config.minibatch / 1000
        self._last = position
        edited = ""
        if config.immunize != "none":
            edited = f"  edited {means['bit_accuracy_edited']:.4f}"
        self._log.line(
            f"tick {math.ceil(position.step / config.tick_steps):<5d} kimg {images / 1000:<8.1f} "
            f"time {format_time(position.elapsed):<12s} sec/kimg {seconds / max(kimg, 1e-3):<7.2f} "
            f"bits {means['bit_accuracy']:.4f}{edited}  from 8 bits {accuracy:.4f}  "
            f"PSNR {decibels:.1f} dB"
        )
        scalars = {f"Loss/{name}": v for name, v in means.items() if name.startswith("loss_")}
        scalars |= {f"Progress/{n}": v for n, v in means.items() if n.startswith("bit_")}
        scalars |= {
            "Progress/kimg": images / 1000,
            "Progress/psnr_original": decibels,
            "Progress/bit_accuracy_8bit": accuracy,
            "Progress/learning_rate": config.rate(position.step),
            "Timing/total_sec": position.elapsed,
        }
        self._log.scalars(scalars, images)

    def _save_grids(self, suffix: str, originals: np.ndarray, made: np.ndarray) -> None:
        """Originals, the same with fingerprints, ten times the difference: a row of each."""
        columns = min(8, len(made))
        difference = np.clip(127.5 + 10.0 * (made.astype(np.float32) - originals), 0, 255)
        rows = []
        for start in range(0, min(len(made), 4 * columns) - columns + 1, columns):
            part = slice(start, start + columns)
            rows += [originals[part], made[part], difference[part].astype(np.uint8)]
        size = columns, len(rows)
        save_grid(np.concatenate(rows), self._folder / f"fakes-adopted-{suffix}.png", size)


def _mean_of_finite(values: list[tf.Tensor]) -> float:
    """The mean without steps that were skipped, whose statistics may not be finite."""
    numbers = np.array([float(value) for value in values])
    return float(numbers[np.isfinite(numbers)].mean()) if np.isfinite(numbers).any() else math.nan

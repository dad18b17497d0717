"""Retuning: a decoder learns to read edited pictures of a generator that stays as it is.

So issued instances, whose pictures are those of the generator, are read better without being
touched. The work is kept in a folder beside the result until the result is written; the same
command goes on after any stop, to the bit.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnnlib.atomic import remove_folder, write_error
from dnnlib.config import differences, load_json, save_json
from dnnlib.errors import UserError
from dnnlib.locks import try_lock_folder
from dnnlib.tflib.execution import Execution
from fingerprints.bits import decide_bits
from training.channels import find_channel
from training.checkpoint import Cures, remove_remains
from training.models.functions import inputs_of_all_classes, make_decoder, make_generator
from training.networks.decoder import Decoder
from training.networks.table import Fingerprinted
from training.probes import accuracies_after_edits
from training.resume import environment_of
from training.retune_steps import RetuneSteps
from training.step_loop import run_steps

_SETTINGS = "settings.json"
_REPORT_SEEDS = range(2**31, 2**31 + 512)  # pictures that before and after are measured on
_MINIBATCH = 64  # of the report
UNEDITED = "none"


@dataclass(frozen=True)
class RetuneConfig:
    """Settings of a retuning, all of which have to be the same when it goes on."""

    network: str  # hash of generator and decoder at the start
    immunize: str  # edits, see `training.edits.chain`
    kimg: float = 100.0  # pictures learnt from, in thousands
    minibatch: int = 32
    learning_rate: float = 0.005  # at the start; it falls to 0 as half a cosine
    seed: int = 1000

    @property
    def num_steps(self) -> int:
        """How many minibatches."""
        return max(1, math.ceil(self.kimg * 1000 / self.minibatch))

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.num_steps))


@dataclass(frozen=True)
class RetuneReport:
    """What a retuning has brought: bit accuracy by edit, `none` first, of 8-bit pictures."""

    before: dict[str, float]
    after: dict[str, float]
    seconds: float
    settings: dict[str, Any]

    def lines(self) -> list[str]:
        """A table for people."""
        width = max(map(len, self.after))
        rows = [
            f"{name:<{width}}  {self.before[name]:.4f}  {after:.4f}"
            for name, after in self.after.items()
        ]
        return [f"{'edit':<{width}}  before  after", *rows]


class WorkFolder:
    """The folder of an unfinished retuning, locked; `PKL.retune` beside the result.

    Args:
        out: the result.
        config: settings.

    Attributes:
        path: of the folder.
        report: file of the report, beside the result.

    Raises:
        UserError: the result is there already, another process is at it, or the folder is of other
            settings or cannot be written.
    """

    def __init__(self, out: Path, config: RetuneConfig) -> None:
        self.path = out.with_name(out.name + ".retune")
        self.report = out.with_suffix(".json")
        if not self.path.exists():  # else they may be ours, of a command that was then killed
            for path in (out, self.report):
                if path.exists():
                    raise UserError(
                        f"--out={out}: {path} exists already; name another file, or move that away"
                    )
        try:
            self.path.mkdir(exist_ok=True)
            lock = try_lock_folder(self.path)
        except OSError as error:
            raise write_error(self.path, error) from error
        if lock is None:
            raise UserError(f"{self.path} is in use by another process; wait for it")
        self._lock: IO[bytes] = lock
        settings = self.path / _SETTINGS
        if settings.is_file():
            earlier = load_json(RetuneConfig, settings)
            if different := differences(asdict(earlier), asdict(config)):
                raise UserError(
                    f"{self.path} is an unfinished retuning of other settings: "
                    f"{', '.join(different)}; repeat its flags, or delete that folder"
                )
        remove_remains(self.path)
        save_json(config, settings)

    def remove(self) -> None:
        """At the end, when everything is written."""
        remove_folder(self.path)
        self._lock.close()


class Retuning:
    """A decoder that is being retuned.

    Args:
        config: settings.
        generator: makes the pictures.
        decoder: is changed in place.
        execution: how the networks run.
        threads: within an operation, as pinned.
    """

    def __init__(
        self,
        config: RetuneConfig,
        generator: Fingerprinted,
        decoder: Decoder,
        execution: Execution,
        threads: int,
    ) -> None:
        channel = find_channel(config.immunize)
        if not channel.spares_latent:
            raise UserError(f"--immunize={config.immunize}: names no edits; use light or full")
        self.config = config
        self._generator, self._decoder, self._execution = generator, decoder, execution
        self._threads = threads
        self._steps = RetuneSteps(
            generator,
            decoder,
            channel,
            minibatch=config.minibatch,
            seed=config.seed,
            execution=execution,
        )

    def measure(self) -> dict[str, float]:
        """Bit accuracy by edit, of 8-bit pictures of seeds that are not trained on."""
        generate = make_generator(self._generator, _MINIBATCH, self._execution)
        decode = make_decoder(self._decoder, _MINIBATCH, self._execution)
        batches = list(inputs_of_all_classes(self._generator, _REPORT_SEEDS, _MINIBATCH))
        images = np.concatenate([generate(inputs) for inputs in batches])
        bits = np.concatenate([inputs.fingerprints for inputs in batches])

        def decode_floats(values: Any) -> np.ndarray:
            rounded = np.clip(np.rint(127.5 * (np.asarray(values) + 1)), 0, 255)
            return decode(rounded.astype(np.uint8))

        clean = float(np.mean(decide_bits(decode(images)) == bits))
        return {UNEDITED: clean, **accuracies_after_edits(images, bits, decode_floats)}

    def run(self, folder: Path, minutes: float, say: Callable[[str], None]) -> RetuneReport:
        """Goes on from the newest checkpoint in the folder until the end.

        Args:
            folder: for checkpoints.
            minutes: between two of them.
            say: prints a line.

        Raises:
            UserError: a variable is not finite, or a checkpoint cannot be read or written.
            KeyboardInterrupt, Terminated: after Ctrl-C or SIGTERM, when a checkpoint is written.
        """
        config = self.config
        cures = Cures(
            f"delete {folder} and run the command with a smaller --learning-rate",
            f"delete {folder} and run the command again",
        )
        end = run_steps(
            self._steps,
            config,
            folder,
            what="retuning",
            cures=cures,
            environment=environment_of(
                ops=self._execution.ops, precision=self._execution.precision, threads=self._threads
            ),
            minutes=minutes,
            say=say,
            measure=self.measure,
        )
        return RetuneReport(end.before, self.measure(), end.elapsed, asdict(config))

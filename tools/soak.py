"""`make soak`: kills a small training run at random, again and again, and looks what is left.

The same command is run once without interruption and then over and over with SIGKILL at random
moments: while it starts, while it trains, while it writes a checkpoint. After every kill all files
must be whole; at the end every bit must be that of the run that was never stopped.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.run_dir import create_run_dir
from dnnlib.tflib.execution import OPS
from dnnlib.tflib.start import quiet_tensorflow

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (str(ROOT / "run_training.py"),)
RESOLUTION = 8  # pixels
IMAGES = 100  # not a multiple of the minibatch, so that batches span epochs
MINIBATCH = 8
ITERATIONS = 40  # of one run
TICK = 10  # iterations; snapshots with their metric come with ticks 2 and 4, grids with tick 3
KILLS = (2, 6)  # of one run, at least and at most
# When to kill, with how often: mostly behind the first iteration.
MOMENTS = {"starting": 2, "training": 5, "checkpoint": 3}

_dataset_writer = cli.deferred("training.data.writer:DatasetWriter")
_read_position = cli.deferred("training.checkpoint:read_position")
_damaged_files = cli.deferred("tools.run_files:damaged_files")
_end_differences = cli.deferred("tools.run_files:end_differences")
_file_names = cli.deferred("tools.run_files:file_names")
_remains = cli.deferred("tools.run_files:remains")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.soak", description=__doc__)
    add = parser.add_argument
    add(
        "--minutes",
        type=cli.positive_float,
        default=10.0,
        metavar="MINUTES",
        help="about how long (default: 10); every job compares one run at least",
    )
    add("--ops", choices=OPS, default="reference", metavar="PATH", help="of run_training.py")
    add("--seed", type=int, default=0, metavar="N", help="of the moments of the kills")
    add("--jobs", type=cli.positive_int, default=2, metavar="N", help="runs at a time")
    add("--result-dir", default="soak", metavar="DIR", help="where all goes")
    return parser


def training_flags(data_dir: Path, ops: str) -> list[str]:
    """What makes iterations and the start-up quick, with everything that a run writes."""
    kimg = MINIBATCH / 1000
    return [
        f"--data-dir={data_dir}", "--dataset=noise", "--config=config-tiny", "--num-gpus=0",
        "--res-modulated-range=4-8", "--watermark-size=8", f"--ops={ops}",
        f"--minibatch={MINIBATCH}", "--mirror-augment",
        f"--total-kimg={ITERATIONS * kimg:g}", f"--kimg-per-tick={TICK * kimg:g}",
        "--snapshot-ticks=2", "--image-snapshot-ticks=3", "--metrics=watermark_accuracy_1k",
        "--checkpoint-minutes=0",
    ]  # fmt: skip


def make_dataset(data_dir: Path) -> None:
    """Noise images."""
    shape = [IMAGES, RESOLUTION, RESOLUTION, 3]
    images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    with _dataset_writer(data_dir / "noise") as writer:
        for image in images:
            writer.add(image)


class Stopped(Exception):
    """Ctrl-C: a thread gives up."""


@dataclass
class Timing:
    """What a process took, in seconds."""

    start: float = 0.0  # until its first checkpoint
    train: float = 0.0  # from there to the end


@dataclass
class Tally:
    """What all jobs have seen; they hold `lock` while they change it."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOMENTS, 0))
    compared: int = 0
    damaged: list[str] = field(default_factory=list)  # one text for each file
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def table(self) -> list[str]:
        """The lines of the summary."""
        rows = {
            "kills": sum(self.kills.values()),
            "  while starting": self.kills["starting"],
            "  while writing a checkpoint": self.kills["checkpoint"],
            "runs finished and compared": self.compared,
            "lost or damaged files": len(self.damaged),
            "bit-identical": "yes" if self.is_well else "no" if self.compared else "-",
        }
        return [f"{name:<30s}{value}" for name, value in rows.items()]

    @property
    def problems(self) -> list[str]:
        """All that is not as it should be."""
        return [*self.failures, *self.damaged, *self.differences]

    @property
    def is_well(self) -> bool:
        """Whether everything is, and was looked at."""
        return self.compared > 0 and not self.problems


class Job:
    """One run of the command in a result folder of its own, from its start to its end.

    Args:
        folder: the result folder, which the command makes.
        flags: of the command.
        stop: set when all jobs shall give up.
    """

    def __init__(self, folder: Path, flags: Sequence[str], stop: threading.Event) -> None:
        self.folder = folder
        self._arguments = [sys.executable, *COMMAND, *flags, f"--result-dir={folder}"]
        self._log = folder.with_suffix(".log")
        self._stop = stop
        self._names: set[str] = set()  # files that were there after the last kill
        self._iteration = -1  # of the newest checkpoint, then
        self.is_finished = False  # killed when all was done, so that the command would begin anew

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the command, for the first time or again."""
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                self._arguments,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is ours alone
            )

    def finish(self) -> Timing:
        """Runs the command to its end.

        Raises:
            UserError: it failed.
        """
        complete = self._checkpoints()
        process = self.start()
        begin = time.monotonic()
        try:
            self._until(process, lambda: bool(self._checkpoints() - complete))
            first = time.monotonic()
            self._until(process, lambda: False)
        finally:
            _end(process)
        self._check(process)
        return Timing(first - begin, time.monotonic() - first)

    def _check(self, process: subprocess.Popen[bytes]) -> None:
        """
        Raises:
            UserError: the command failed.
        """
        if process.returncode:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise UserError(
                f"the command ended with status {process.returncode}: {(lines or [''])[-1]} "
                f"(all of it: {self._log})"
            )

    def kill(self, moment: str, timing: Timing, rnd: random.Random) -> str | None:
        """Starts the command and kills it.

        Args:
            moment: a key of MOMENTS.
            timing: `start` and `train` are the longest that it waits before and in training.
            rnd: how long of that.

        Returns:
            The moment that it really was; None if the command came to its end before.

        Raises:
            UserError: the command failed.
        """
        complete, incomplete = self._checkpoints(), self._checkpoints(incomplete=True)
        process = self.start()
        try:
            if moment == "starting":
                self._pause(process, rnd.uniform(0, timing.start))
            else:
                self._until(process, lambda: bool(self._checkpoints() - complete))
                self._pause(process, rnd.uniform(0, timing.train))
            if moment == "checkpoint":
                self._until(
                    process,
                    lambda: bool(self._checkpoints(incomplete=True) - incomplete),
                    seconds=0.0005,
                )
                time.sleep(rnd.uniform(0, 0.02))
        finally:
            _end(process)
        if process.returncode != -signal.SIGKILL:
            self._check(process)
            return None
        if self._checkpoints(incomplete=True) - incomplete:
            return "checkpoint"
        return "training" if self._checkpoints() - complete else "starting"

    def run_dir(self) -> Path | None:
        """The run folder, once there is one.

        Raises:
            UserError: there are several, where one run should have gone on.
        """
        found = sorted(self.folder.glob("[0-9]*-*"))
        if len(found) > 1:
            raise UserError(f"the command did not go on with {found[0]} but began {found[-1]}")
        return found[0] if found else None

    def inspect(self) -> list[str]:
        """What a kill has damaged or lost; one text each."""
        run_dir = self.run_dir()
        if run_dir is None:
            return []
        texts = _damaged_files(run_dir)
        names = _file_names(run_dir)
        texts += [f"{run_dir / name} is lost" for name in sorted(self._names - names)]
        position = _read_position(run_dir)
        iteration = -1 if position is None else position.iteration
        if iteration < self._iteration:
            texts.append(
                f"the newest checkpoint of {run_dir} is of iteration {iteration} and was of "
                f"{self._iteration}"
            )
        self._names, self._iteration = names, iteration
        self.is_finished = position is not None and position.finished
        return texts

    def _checkpoints(self, *, incomplete: bool = False) -> set[str]:
        """Names of the checkpoints that are complete, or of those that are not."""
        names: set[str] = set()
        for folder in self.folder.glob("[0-9]*/checkpoints"):
            names.update(os.listdir(folder))
        return {name for name in names if name.isdecimal() != incomplete}

    def _until(
        self, process: subprocess.Popen[bytes], condition: Callable[[], bool], seconds: float = 0.02
    ) -> None:
        """Waits until the condition holds or the process has ended; `seconds` between two looks."""
        while process.poll() is None and not condition():
            if self._stop.is_set():
                raise Stopped
            time.sleep(seconds)

    def _pause(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        end = time.monotonic() + seconds
        self._until(process, lambda: time.monotonic() >= end)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # no-op where it has ended
    process.wait()


class Soak:
    """Kills and compares until the time is over.

    Args:
        folder: where the runs go.
        flags: of the command.
        seed: of the kills.
        deadline: in `time.monotonic` seconds.
    """

    def __init__(self, folder: Path, flags: list[str], seed: int, deadline: float) -> None:
        self.tally = Tally()
        self.stop = threading.Event()
        self._folder = folder
        self._flags = flags
        self._seed = seed
        self._deadline = deadline
        self._timing = Timing()  # of the uninterrupted run
        self._slowness = 1.0  # how much longer it takes where several runs share the machine
        self._expected = Path()
        self._numbers = iter(range(1_000_000))

    def run_uninterrupted(self) -> None:
        """The run that all others must equal.

        Raises:
            UserError: the command failed.
        """
        job = Job(self._folder / "uninterrupted", self._flags, self.stop)
        self._timing = job.finish()
        run_dir = job.run_dir()
        if run_dir is None:
            raise UserError(f"the command made no run folder in {job.folder}")
        self._expected = run_dir

    def work(self) -> None:
        """One killed run after the other; threads share the work."""
        while True:
            with self.tally.lock:
                number = next(self._numbers)
            job = Job(self._folder / f"killed-{number:03d}", self._flags, self.stop)
            try:
                self._torment(job, random.Random(f"{self._seed}/{number}"))
            except Stopped:
                return
            except UserError as error:
                with self.tally.lock:
                    self.tally.failures.append(f"{job.folder}: {error}")
            if not self._is_time_for(self._timing.start + self._timing.train):
                return

    def _torment(self, job: Job, rnd: random.Random) -> None:
        """Kills one run several times, lets it finish, compares it."""
        count = rnd.randint(*KILLS)
        # On average it dies at even steps through the training.
        timing = Timing(self._timing.start, 2 * self._timing.train / (count + 1))
        killed = 0
        came_to_its_end = False
        for moment in rnd.choices(list(MOMENTS), list(MOMENTS.values()), k=count):
            # Behind the last kill comes a whole run, in the worst case.
            if killed and not self._is_time_for(2 * self._timing.start + self._timing.train):
                break
            was = job.kill(moment, timing, rnd)
            came_to_its_end = was is None
            if was is None:
                break
            killed += 1
            texts = job.inspect()
            with self.tally.lock:
                self.tally.kills[was] += 1
                self.tally.damaged += texts
            if job.is_finished:
                break
        if not came_to_its_end and not job.is_finished:
            start = job.finish().start
            with self.tally.lock:
                self._slowness = max(self._slowness, start / self._timing.start)
            came_to_its_end = True
        run_dir = job.run_dir()
        if run_dir is None:
            raise UserError("the command made no run folder")
        damaged = job.inspect()
        texts = [] if damaged else _end_differences(self._expected, run_dir)
        texts = [f"{run_dir}: {text}" for text in texts]
        if came_to_its_end:
            texts += [f"{job.folder}: {name} was left" for name in _remains(job.folder)]
        with self.tally.lock:
            self.tally.damaged += damaged
            self.tally.differences += texts
            self.tally.compared += killed > 0
        if not damaged and not texts:
            shutil.rmtree(job.folder)  # the next hours need their space

    def _is_time_for(self, seconds: float) -> bool:
        return time.monotonic() + self._slowness * seconds < self._deadline


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the soak test; exits with status 1 where something is not as it should be."""
    args = build_parser().parse_args(argv)
    begin = time.monotonic()
    deadline = begin + 60 * args.minutes
    # `kill` and a closed terminal end the running commands, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = create_run_dir(args.result_dir, f"seed{args.seed}-{args.ops}")
    quiet_tensorflow(verbose=False)
    make_dataset(folder / "datasets")
    flags = training_flags(folder.resolve() / "datasets", args.ops)
    soak = Soak(folder.resolve(), flags, args.seed, deadline)
    interrupted = False
    try:
        print("running once without interruption ...", file=sys.stderr, flush=True)
        soak.run_uninterrupted()
        with tqdm(
            total=round(60 * args.minutes), unit="s", disable=None, dynamic_ncols=True
        ) as bar:
            _work(soak, args.jobs, begin, bar)
    except KeyboardInterrupt:
        interrupted = True
    print("\n".join(soak.tally.table()))
    for text in soak.tally.problems:
        print(text)
    if interrupted:
        raise KeyboardInterrupt
    if not soak.tally.compared and not soak.tally.problems:
        print("no run was killed before it ended: nothing was compared")
    if not soak.tally.is_well:
        sys.exit(1)


def _work(soak: Soak, jobs: int, begin: float, bar: "tqdm[object]") -> None:
    """Lets the threads work and shows how far they are."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(soak.work) for _ in range(jobs)}
        try:
            waiting = futures
            while waiting:
                _, waiting = wait(waiting, timeout=0.5)
                kills = sum(soak.tally.kills.values())
                bar.set_postfix_str(f"{kills} kills, {soak.tally.compared} runs", refresh=False)
                bar.update(min(round(time.monotonic() - begin), bar.total) - bar.n)
        finally:
            soak.stop.set()
    for future in futures:
        future.result()


if __name__ == "__main__":
    cli.run(main)

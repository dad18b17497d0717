"""Torments the service while requests run, and counts what becomes of them.

Clients ask without pause about pictures whose licensees are known, and about noise. Meanwhile the
process is killed, the registry taken away, locked, changed, the disk filled. Every request has to
be answered rightly or end with an error that its client sees; and when the fault is over, answers
have to come again. Prints a table in Markdown; exits with status 1 where something is not as it
should.
"""

import argparse
import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from fingerprints.registry.facade import Registry
from tools.http_load import HOST, Reply, ask_all, verify_request
from tools.serving import Serving

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 16
LICENSEES = 8
_IMAGES_BY_SEED = cli.deferred("training.models.functions:images_by_seed")
_LOAD_NETWORKS = cli.deferred("training.models.snapshot:load_networks")
_LOAD_DECODER = cli.deferred("gan_fingerprints.work.images:load_decoder")


@dataclass
class World:
    """A service, what it is asked, and what is true."""

    folder: Path
    registry: str  # file or URL
    serving: Serving
    requests: list[bytes] = field(repr=False)
    licensees: list[str | None]  # of each request; None: the picture is noise


@dataclass
class Tally:
    """What became of the requests beside one fault."""

    sent: dict[int, float] = field(default_factory=dict)  # number -> when
    right: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # by what the client saw
    wrong: list[str] = field(default_factory=list)
    last_right: float = 0.0
    no_effect: bool = False  # nothing failed where it should have
    again: float | None = None  # seconds from the fault's end to the next right answer

    @property
    def num_errors(self) -> int:
        """Requests that ended with an error."""
        return sum(self.errors.values())

    @property
    def lost(self) -> int:
        """Requests that nothing was heard of."""
        return len(self.sent) - self.right - self.num_errors - len(self.wrong)

    @property
    def is_well(self) -> bool:
        """Whether nothing was wrong or lost, and answers came again."""
        is_right = not self.wrong and not self.lost and not self.no_effect
        return is_right and self.again is not None


# Of an answer and when it was asked: what is wrong with it, beside the licensee; None: nothing.
Check = Callable[[dict[str, Any], float], str | None]


class Load:
    """Clients that ask about all pictures in turn until they are stopped."""

    def __init__(self, world: World, check: Check) -> None:
        self.tally = Tally()
        self._world = world
        self._check = check
        self._is_over = False

    async def run(self) -> None:
        """Asks; returns when it is stopped and all is answered, or a minute after."""
        await ask_all(self._world.serving.port, self._requests(), CLIENTS, self._take, pause=0.005)

    def stop(self) -> None:
        """No new request."""
        self._is_over = True

    def _requests(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while not self._is_over:
            self.tally.sent[number] = time.monotonic()
            yield number, self._world.requests[number % len(self._world.requests)]
            number += 1

    def _take(self, reply: Reply) -> None:
        tally = self.tally
        if reply.status != 200:
            name = f"{reply.status}" if reply.status else "no connection"
            tally.errors[name] = tally.errors.get(name, 0) + 1
            return
        try:
            (answer,) = json.loads(reply.body)["results"]
            found, verdict = answer["licensee"], answer["verdict"]
        except (ValueError, KeyError, TypeError):
            tally.wrong.append(f"no answer: {reply.body[:100]!r}")
            return
        expected = self._world.licensees[reply.number % len(self._world.licensees)]
        problem = self._check(answer, tally.sent[reply.number])
        if found != expected or verdict != ("licensee" if expected else "not-ours"):
            problem = f"{verdict} {found} in place of {expected}"
        if problem is not None:
            tally.wrong.append(problem)
            return
        tally.right += 1
        tally.last_right = time.monotonic()


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong."""

    name: str
    begin: Callable[[World], None]
    end: Callable[[World], None] = lambda world: None
    seconds: float = 3.0  # that it lasts
    must_fail: bool = False  # whether requests have to end with errors meanwhile


async def torment(world: World, fault: Fault) -> Tally:
    """One fault under load, from before it begins until answers come again."""
    since: list[float] = []  # when the licensee was revoked

    def check(answer: dict[str, Any], sent: float) -> str | None:
        if since and sent > since[0] and answer["licensee"] == "licensee-0":
            return None if answer["revoked"] else "a revoked licence is not told"
        return None

    load = Load(world, check)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(1.0)
    await asyncio.to_thread(fault.begin, world)
    if fault.name == REVOKED:
        since.append(time.monotonic())
    await asyncio.sleep(fault.seconds)
    errors = load.tally.num_errors
    await asyncio.to_thread(fault.end, world)
    over = time.monotonic()
    while load.tally.last_right < over and time.monotonic() < over + 180:
        await asyncio.sleep(0.05)
    if load.tally.last_right >= over:
        load.tally.again = load.tally.last_right - over
    await asyncio.sleep(1.0)
    load.stop()
    try:
        async with asyncio.timeout(60):
            await running
    except TimeoutError:
        pass
    if fault.must_fail and not errors:
        load.tally.no_effect = True
    return load.tally


def kill(world: World) -> None:
    """The process is gone, as when it runs out of memory."""
    world.serving.kill()


def restart(world: World) -> None:
    """What a supervisor does."""
    world.serving.start()
    world.serving.wait_until_ready()


def stop(world: World) -> None:
    """SIGTERM: what was taken is answered."""
    status = world.serving.stop()
    if status != 143:
        raise AssertionError(f"exit status {status} after SIGTERM")


def take_registry_away(world: World) -> None:
    """The database is dropped."""
    Path(world.registry).rename(f"{world.registry}.away")


def bring_registry_back(world: World) -> None:
    """It is restored."""
    Path(f"{world.registry}.away").rename(world.registry)


def empty_registry(world: World) -> None:
    """The file is cut to nothing in place; a copy is kept."""
    with sqlite3.connect(world.registry) as one, sqlite3.connect(f"{world.registry}.copy") as two:
        one.backup(two)
    one.close()
    two.close()
    with open(world.registry, "r+b") as file:
        file.truncate(0)


def restore_registry(world: World) -> None:
    """From the copy, under the same name."""
    Path(f"{world.registry}.copy").replace(world.registry)


def lock_registry(world: World) -> None:
    """Somebody writes and does not come to an end."""
    connection = sqlite3.connect(world.registry, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    _LOCKS.append(connection)


def unlock_registry(world: World) -> None:
    """Nothing was written."""
    _LOCKS.pop().rollback()


_LOCKS: list[sqlite3.Connection] = []


def revoke(world: World) -> None:
    """By the command, while requests about the licensee run."""
    command = [sys.executable, str(ROOT / "run_fingerprints.py"), "revoke", "licensee-0"]
    flags = [f"--registry={world.registry}", "--reason=test"]
    subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL)


def register_more(world: World) -> None:
    """A hundred fingerprints, one after the other."""
    with Registry.open(world.registry) as registry:
        (model,) = registry.models()
        for number in range(100):
            registry.reserve(model, [(f"more-{number}", "")], min_distance=8)


def fill_disk(world: World) -> None:
    """Nothing can be written where log and feedback lie."""
    with open(world.folder / "full" / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    if (status := send_feedback(world)) != 503:
        raise AssertionError(f"feedback that cannot be kept gets the status {status}")


def send_feedback(world: World) -> int:
    """HTTP's status of a feedback."""
    address = f"http://{HOST}:{world.serving.port}/v1/feedback"
    try:
        with urllib.request.urlopen(address, b'{"text": "a"}', timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def empty_disk(world: World) -> None:
    """There is room again."""
    (world.folder / "full" / "ballast").unlink()
    if (status := send_feedback(world)) != 202:
        raise AssertionError(f"feedback gets the status {status} where there is room again")


REVOKED = "a licence is revoked"
FAULTS = (
    Fault("the process is killed, and started again", kill, restart, must_fail=True),
    Fault("the process gets SIGTERM, and is started again", stop, restart, must_fail=True),
    Fault("the registry's file is gone", take_registry_away, bring_registry_back, must_fail=True),
    Fault("the registry's file is empty", empty_registry, restore_registry, must_fail=True),
    Fault("the registry is locked by a writer", lock_registry, unlock_registry, seconds=8.0),
    Fault("a hundred fingerprints are added", register_more),
    Fault("the disk with log and feedback is full", fill_disk, empty_disk),
    Fault(REVOKED, revoke),
)


def make_world(folder: Path, network: str, registry: str | None, flags: Sequence[str]) -> World:
    """Starts a service for a model with a few licensees.

    Args:
        folder: for everything, with a folder `full` on a disk of its own.
        network: the snapshot.
        registry: where one can be made; None: a file.
        flags: more of `serve`.
    """
    decoder, model_hash, decoder_hash = _LOAD_DECODER(network)
    registry = registry or str(folder / "registry.db")
    with Registry.create(registry) as opened:
        num_bits = decoder.fingerprint_size
        model = opened.add_model(str(model_hash), decoder_hash, num_bits, "model")
        names = [f"licensee-{number}" for number in range(LICENSEES)]
        entries = opened.reserve(model, [(name, "") for name in names], min_distance=8)
    generator = _LOAD_NETWORKS(network, only="generator").fingerprinted
    images = [_IMAGES_BY_SEED(generator, [0], entry.bits)[0] for entry in entries]
    rng = np.random.default_rng(0)
    images += [rng.integers(0, 256, images[0].shape, np.uint8) for _ in entries]
    requests = []
    for number, image in enumerate(images):
        path = folder / f"{number}.png"
        Image.fromarray(image).save(path)
        requests.append(verify_request([path.read_bytes()]))
    log, feedback = folder / "full" / "serve.log", folder / "full" / "feedback.jsonl"
    arguments = [f"--network={network}", f"--registry={registry}", "--reveal=licensee"]
    arguments += [f"--feedback={feedback}", "--anonymous=1000000000", *flags]
    licensees = [entry.licensee for entry in entries] + [None] * len(entries)
    return World(folder, registry, Serving(arguments, log), requests, licensees)


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--network",
        default=str(ROOT / "models" / "portraits-64-immunized.pkl"),
        metavar="PKL",
        help="with generator and decoder (default: models/portraits-64-immunized.pkl)",
    )
    parser.add_argument(
        "--registry", metavar="URL", help="where a registry can be made (default: a file)"
    )
    parser.add_argument(
        "--down", metavar="COMMAND", help="with --registry, stops the database's server"
    )
    parser.add_argument(
        "--up", metavar="COMMAND", help="with --registry, starts the database's server"
    )
    parser.add_argument(
        "--flags", nargs="*", default=[], metavar="NAME=VALUE",
        help="more flags of serve, without their dashes",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs all faults."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(verbose=False)
    # `kill` and a closed terminal end the service, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "full") as has_disk:
        flags = [f"--{flag}" for flag in args.flags]
        world = make_world(Path(name), args.network, args.registry, flags)
        rows = []
        is_well = True
        with world.serving:
            world.serving.wait_until_ready()
            for fault in faults_of(args):
                if fault.begin is fill_disk and not has_disk:
                    print("a disk of its own takes root; left out: a full disk", file=sys.stderr)
                    continue
                print(f"{fault.name} ...", file=sys.stderr, flush=True)
                tally = asyncio.run(torment(world, fault))
                is_well &= tally.is_well
                rows.append(row(fault, tally))
                if tally.no_effect:
                    print(f"{fault.name}: nothing failed, it took no effect", file=sys.stderr)
                for text in tally.wrong[:5]:
                    print(f"{fault.name}: {text}", file=sys.stderr)
    print("| fault | requests | right | ended with an error | wrong | lost | again after, s |")
    print("\n".join(["|---|--:|--:|---|--:|--:|--:|", *rows]))
    if not is_well:
        sys.exit(1)


def faults_of(args: argparse.Namespace) -> list[Fault]:
    """Those that a registry in a file can meet, or one behind a server."""
    if args.registry is None:
        return list(FAULTS)

    def runs(command: str) -> Callable[[World], None]:
        def run(_: World) -> None:
            subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)

        return run

    files = (take_registry_away, empty_registry, lock_registry)
    found = [fault for fault in FAULTS if fault.begin not in files]
    if args.down and args.up:
        name = "the database's server is stopped"
        found.insert(2, Fault(name, runs(args.down), runs(args.up), must_fail=True))
    return found


def row(fault: Fault, tally: Tally) -> str:
    """Of the table."""
    errors = ", ".join(f"{count} {name}" for name, count in sorted(tally.errors.items())) or "0"
    again = "never" if tally.again is None else f"{tally.again:.1f}"
    cells = (len(tally.sent), tally.right, errors, len(tally.wrong), tally.lost, again)
    return f"| {fault.name} | {' | '.join(map(str, cells))} |"


class small_disk:
    """A disk of half a megabyte in memory, for who may mount one; tells whether that went well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_there = False

    def __enter__(self) -> bool:
        self._folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(self._folder)]
        try:
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            self._is_there = True
        except (OSError, subprocess.CalledProcessError):
            self._is_there = False
        return self._is_there

    def __exit__(self, *_: object) -> None:
        if self._is_there:
            subprocess.run(["umount", "-l", str(self._folder)], check=True)


if __name__ == "__main__":
    cli.run(main)

"""A disk that is full at any point of issuing: it is named, and nothing is lost or half entered."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dnnlib import atomic
from dnnlib.errors import UserError
from fingerprints.instances.issuing import Issuer, reserve
from fingerprints.instances.witnesses import contradictions, find_witnesses
from fingerprints.registry.facade import Registry
from tests.support.paths import ROOT

LICENSEES = [("acme", ""), ("bell", "")]
INSTANCE = b"instance" * 5000


class Writer:
    """Writes a file of 40,000 bytes."""

    ending = ".pkl"

    def write(self, data: bytes, path: Path) -> None:
        with atomic.open_atomic(path) as file:
            file.write(data)


def issue(place: str, folder: Path) -> list[bytes]:
    """Issues for all licensees; returns their fingerprints."""
    with Registry.create(place, exist_ok=True) as registry:
        model = registry.add_model("a" * 64, "b" * 64, 64, "cats")
        found = reserve(registry, model, LICENSEES)
        key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        issuer = Issuer(
            lambda bits: INSTANCE,
            {"pkl": Writer()},
            folder,
            model_hash="a" * 64,
            signing_key=key,
            registry=registry,
        )
        for entry in found:
            list(issuer.issue(entry.licensee, entry.bits, entry))
        return [entry.bits.tobytes() for entry in found]


def check_sound(place: str, folder: Path, before: dict[str, bytes]) -> None:
    """The registry is in order; manifests and log agree; what was there is there."""
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]
    for name, data in before.items():
        assert (folder / name).read_bytes() == data
    if not Path(place).exists() or not Path(place).stat().st_size:
        assert not list(folder.iterdir())
        return
    with Registry.open(place) as registry:
        assert registry.audit().problems == []
        assert contradictions(registry, find_witnesses([folder]))[0] == []
        counts = registry.counts()
        assert counts.fingerprints in (0, 2)  # all licensees or none


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "instances").mkdir()
    return tmp_path / "instances"


def full_files(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Files cannot be written from the write number `after` on."""
    count = [0]

    class Full:
        """A file on a full disk."""

        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            count[0] += 1
            if count[0] > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._file.write(data)

    def opened(*arguments: Any) -> Full:
        return Full(open(*arguments))  # noqa: SIM115 - it closes itself

    monkeypatch.setattr(atomic, "open", opened, raising=False)


@pytest.mark.parametrize("after", range(4))
def test_full_at_any_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Two instances and two manifests are written, in turn."""
    place = str(tmp_path / "registry.db")
    with monkeypatch.context() as patch:
        full_files(patch, after)
        with pytest.raises(UserError, match="cannot write .*: No space left.*; free some") as error:
            issue(place, folder)
    assert "\n" not in str(error.value)
    check_sound(place, folder, {})
    with Registry.open(place) as registry:
        assert registry.counts().instances == after // 2
        reserved = [entry.bits.tobytes() for entry in registry.fingerprints()]
    assert issue(place, folder) == reserved  # the command given again goes on
    check_sound(place, folder, {})
    assert len(files(folder)) == 4


def test_issuing_again_on_a_full_disk_leaves_what_was_there(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "registry.db")
    given = issue(place, folder)
    before = files(folder)
    with monkeypatch.context() as patch:
        full_files(patch, 0)
        with pytest.raises(UserError, match="No space left"):
            issue(place, folder)
    check_sound(place, folder, before)
    assert issue(place, folder) == given


@pytest.fixture
def limited() -> Iterator[list[int]]:
    """Sets how many pages databases may have, from the next connection on."""
    pages: list[int] = []

    def limit(connection: Any, record: Any) -> None:
        if pages:
            connection.execute(f"PRAGMA max_page_count = {pages[-1]}")

    sa.event.listen(sa.Engine, "connect", limit)
    yield pages
    sa.event.remove(sa.Engine, "connect", limit)


def test_full_at_any_page_of_the_database(tmp_path: Path, folder: Path, limited: list[int]) -> None:
    """From the first page to the one with which it succeeds, one more each time."""
    place = str(tmp_path / "registry.db")
    said: list[str] = []
    given: list[bytes] = []
    while not given:
        limited.append(len(said) + 1)
        try:
            given = issue(place, folder)
        except UserError as error:
            said.append(str(error))
            check_sound(place, folder, {})
    assert set(said) == {
        f"registry {place}: its disk is full, and nothing of this step was entered; free some "
        "space, then run the command again"
    }
    assert len(said) > 5
    check_sound(place, folder, {})
    with Registry.open(place) as registry:
        assert registry.counts().instances == 2
        assert [entry.bits.tobytes() for entry in registry.fingerprints()] == given


@pytest.mark.parametrize("statement", ["COMMIT", "INSERT INTO instances", "INSERT INTO events"])
def test_full_when_an_issue_is_entered(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """The manifest of an instance that the log does not tell of does not appear."""
    place = str(tmp_path / "registry.db")
    original = Registry.record_issue

    def record(self: Registry, *arguments: Any) -> None:
        engine = self._database._engine

        def fail(*_: object) -> None:
            raise sa.exc.OperationalError("", {}, Exception("database or disk is full"))

        def execute(connection: Any, cursor: Any, text: str, *_: object) -> None:
            if text.startswith(statement):
                fail()

        name, function = ("before_cursor_execute", execute)
        if statement == "COMMIT":
            name, function = "commit", fail
        sa.event.listen(engine, name, function)
        try:
            original(self, *arguments)
        finally:
            sa.event.remove(engine, name, function)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "record_issue", record)
        with pytest.raises(UserError, match="its disk is full, and nothing of this step"):
            issue(place, folder)
    assert list(files(folder)) == ["acme.pkl"]
    check_sound(place, folder, {})
    issue(place, folder)
    check_sound(place, folder, {})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("database or disk is full", "its disk is full, and nothing"),
        (
            'could not extend file "base/1/2": No space left on device\nHINT:  Check free disk',
            "its disk is full, and nothing",
        ),
        ("disk I/O error", "its disk cannot be written, and nothing .* has room"),
        ("file is not a database", "file is not a database; check that it is a registry"),
    ],
)
def test_what_databases_say_of_full_disks(tmp_path: Path, message: str, said: str) -> None:
    registry = Registry.create(str(tmp_path / "registry.db"))
    expected = pytest.raises(UserError, match=f"registry .*registry.db: {said}")
    with expected as error, registry._database.writing():
        raise sa.exc.OperationalError("", {}, Exception(message))
    assert "\n" not in str(error.value)


CODE = """
import sys
from pathlib import Path
from dnnlib.errors import UserError
from tests.fingerprints.instances.test_full_disk import issue
try:
    issue(sys.argv[1], Path(sys.argv[2]))
except UserError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.slow
def test_a_limit_of_file_sizes(tmp_path: Path, folder: Path) -> None:
    """What the system really does when a write fails, in a process of its own."""
    place = str(tmp_path / "registry.db")

    def limit(size: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    codes = []
    for size in (0, 4096, 20_000, 39_000, 60_000, 90_000, 120_000, 160_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, "-c", CODE, place, str(folder)], cwd=ROOT, text=True, timeout=120,
            capture_output=True, preexec_fn=limit(size),
        )  # fmt: skip
        codes.append(done.returncode)
        if done.returncode:
            assert done.stderr.startswith("error: "), done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert "limit" in done.stderr or "disk" in done.stderr
        check_sound(place, folder, {})
    assert codes[0] == 1
    assert codes[-1] == 0
    assert len(files(folder)) == 4

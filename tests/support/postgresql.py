"""A PostgreSQL server of the tests' own, and places for registries in SQLite and in it."""

import getpass
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MAX_STARTS = 5  # another program may take the port that was free


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """URL of a server's database in which others can be made."""
    folder = _find_binaries()
    if folder is None:
        message = "no PostgreSQL server is installed (initdb, pg_ctl, postgres)"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
    with running_server(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that returns places, a new one with every call, where `Registry.create` works."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{secrets.token_hex(4)}.db")
    server = request.getfixturevalue("postgresql")
    return lambda: new_database(server)


@pytest.fixture
def place(new_place: Callable[[], str]) -> str:
    """One place where `Registry.create` works."""
    return new_place()


def new_database(server: str) -> str:
    """Makes a database and returns its URL."""
    import psycopg

    name = f"registry_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.rsplit("/", 1)[0] + f"/{name}"


def copy_registry(place: str, to: str) -> None:
    """Copies a registry that nobody has open; what is at `to` is replaced."""
    if "://" not in place:
        shutil.copy(place, to)
        return
    import psycopg

    server, name = place.rsplit("/", 1)
    new = to.rsplit("/", 1)[1]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {new}")
        connection.execute(f"CREATE DATABASE {new} TEMPLATE {name}")


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Runs a server on loopback, in a temporary folder, as an ordinary user."""
    user = _ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user != getpass.getuser():
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(folder / "data"), *arguments]
        if user != getpass.getuser():
            command = ["runuser", "-u", user, "--", *command]
        # What it writes goes to a file: a server that runs on would keep a pipe open.
        with open(folder / "output.txt", "ab") as output:
            done = subprocess.run(
                command, cwd=folder, stdout=output, stderr=output, timeout=60, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{program}:\n{(folder / 'output.txt').read_text()}")

    password = secrets.token_hex(8)
    password_file = folder / "password"
    password_file.write_text(password)
    if user != getpass.getuser():
        shutil.chown(password_file, user)
    try:
        run(
            *("initdb", "--no-sync", "-E", "UTF8", "--locale=C", "-U", "tester"),
            *("-A", "scram-sha-256", f"--pwfile={password_file}"),
        )
        port = _start(run, folder)
        try:
            yield f"postgresql://tester:{password}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(run: Callable[..., None], folder: Path) -> int:
    """Starts the server; returns its port."""
    for attempt in range(_MAX_STARTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # The tests kill clients, never the server: nothing has to survive a power cut.
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} "
            "-c fsync=off -c full_page_writes=off -c max_connections=60"
        )
        try:
            run("pg_ctl", "start", "-w", "-l", str(folder / "log.txt"), "-o", options)
        except RuntimeError:
            if attempt == _MAX_STARTS - 1:
                raise
        else:
            return port
    raise AssertionError("unreachable")


def _find_binaries() -> Path | None:
    """The folder of the newest server, or None."""
    folders = [Path(found).parent for found in [shutil.which("initdb")] if found]
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    # initdb looks for postgres beside itself.
    complete = [f.resolve() for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()]
    return max(complete, key=_version, default=None)


def _version(folder: Path) -> list[int]:
    """Of a folder such as /usr/lib/postgresql/15/bin."""
    return [int(part) for part in folder.parent.name.split(".") if part.isdigit()]


def _ordinary_user() -> str:
    """Who the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")

"""Fetches onnxruntime-web, by which browsers run the decoder (`serve --public-decoder`).

It comes from the npm registry as a package, of which three files are taken: they are put beside the
page, and no others. Their hashes stand here, so that nothing else is ever served.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from service.public_decoder import VENDOR

PACKAGE = "onnxruntime-web@1.30.0"  # MIT licence, https://github.com/microsoft/onnxruntime
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--package", metavar="TGZ", help="the package, where it is here already (default: npm pack)"
    )
    parser.add_argument(
        "--folder", default=str(VENDOR), metavar="DIR", help="for the files (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Fetches and unpacks it; what is there already is kept."""
    args = build_parser().parse_args(argv)
    folder = Path(args.folder)
    if all((folder / name).is_file() for name in FILES):
        print(f"{folder} has {PACKAGE} already", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as name:
        package = Path(args.package) if args.package is not None else fetch(Path(name))
        contents = read_package(package)
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, content in contents.items():
        with open_atomic(folder / file_name) as file:
            file.write(content)
    print(f"{folder}: {PACKAGE}", file=sys.stderr)


def fetch(folder: Path) -> Path:
    """The package from the npm registry.

    Raises:
        UserError: npm is missing, or gives none.
    """
    command = ["npm", "pack", "--silent", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (found,) = folder.glob("*.tgz")
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise UserError(
            f"npm pack {PACKAGE} did not work ({error}); install npm, or fetch the package "
            "elsewhere and name it with --package"
        ) from error
    return found


def read_package(path: Path) -> dict[str, bytes]:
    """The files of a package that are wanted: name -> content.

    Raises:
        UserError: it cannot be read, or a file in it is missing or another one.
    """
    found = {}
    try:
        with tarfile.open(path, "r:gz") as package:
            for name in FILES:
                member = package.extractfile(f"package/dist/{name}")
                found[name] = b"" if member is None else member.read()
    except (OSError, tarfile.TarError, KeyError, EOFError) as error:
        raise UserError(f"{path} is no package of {PACKAGE}: {error}") from error
    for name, digest in FILES.items():
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise UserError(f"{path}: {name} is not that of {PACKAGE}; nothing was unpacked")
    return found


if __name__ == "__main__":
    cli.run(main)

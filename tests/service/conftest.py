"""What the tests of the service share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bulk import Place, make_place

pytest.importorskip("fastapi", reason="the service needs requirements/serve.txt")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A model with its registry, which no test may change."""
    # Fingerprints closer than 7 bits leave no significant lead, and so no name.
    return make_place(tmp_path_factory.mktemp("template"), min_distance=8)


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    """A copy of it."""
    folder = tmp_path / "place"
    shutil.copytree(template.folder, folder)
    return Place(folder, *(folder / path.name for path in template[1:]))

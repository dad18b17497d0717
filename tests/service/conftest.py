"""What the tests of the service share."""

from collections.abc import Iterator

import pytest

from tests.support.bulk import Place, make_place

pytest.importorskip("fastapi", reason="the service needs requirements/serve.txt")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    # Fingerprints closer than 7 bits leave no significant lead, and so no name.
    return make_place(tmp_path_factory.mktemp("service"), min_distance=8)

"""The packed index in the cache is used only for the very fingerprints that it was made of.

A number of a fingerprint says little: after a registry went back to a backup the same number is
given to somebody else.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection import detector as detector_module
from fingerprints.detection.detector import Detector, open_index
from fingerprints.detection.search import PackedIndex, write_index
from fingerprints.entries import Model
from fingerprints.registry.facade import Registry
from tests.support.postgresql import copy_registry

NUM_BITS = 64
HASHES = ("ab" * 32, "cd" * 32)  # of the model and of its decoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "index"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The index files that are written, in order."""
    paths: list[Path] = []
    original = detector_module.write_index

    def write(path: Path, *arguments: object, **options: object) -> None:
        paths.append(path)
        original(path, *arguments, **options)

    monkeypatch.setattr(detector_module, "write_index", write)
    return paths


def give(place: str, *licensees: str) -> dict[str, np.ndarray]:
    """Gives licensees fingerprints; returns what a decoder says of their pictures."""
    with Registry.create(place, exist_ok=True) as registry:
        model = registry.add_model(*HASHES, NUM_BITS, "model")
        found = registry.reserve(model, [(name, "") for name in licensees], min_distance=8)
        return {entry.licensee: np.where(entry.bits == 1, 4.0, -4.0) for entry in found}


def verdict(place: str, logits: np.ndarray) -> str:
    with Registry.open(place) as registry:
        return Detector(registry, registry.models()[0]).judge(logits).text


def ids(place: str) -> list[int]:
    with Registry.open(place) as registry:
        return [entry.id for entry in registry.fingerprints()]


@pytest.fixture
def places(new_place: Callable[[], str]) -> tuple[str, str]:
    """Of the registry and of its backup."""
    return new_place(), new_place()


def test_a_number_given_again_after_a_restore_names_its_new_owner(places: tuple[str, str]) -> None:
    place, backup = places
    given = give(place, "acme")
    copy_registry(place, backup)
    given |= give(place, "bell")
    assert verdict(place, given["bell"]) == "licensee bell"
    before = ids(place)
    copy_registry(backup, place)
    given |= give(place, "core")
    assert ids(place) == before  # bell's number is core's
    assert verdict(place, given["bell"]) == "not-ours"
    assert verdict(place, given["core"]) == "licensee core"
    assert verdict(place, given["acme"]) == "licensee acme"


def test_a_rollback_forgets(places: tuple[str, str]) -> None:
    place, backup = places
    given = give(place, "acme")
    copy_registry(place, backup)
    given |= give(place, "bell")
    assert verdict(place, given["bell"]) == "licensee bell"
    copy_registry(backup, place)
    assert verdict(place, given["bell"]) == "not-ours"
    assert verdict(place, given["acme"]) == "licensee acme"


def test_a_copy_that_diverges_has_its_own_index(places: tuple[str, str]) -> None:
    """Both have one id, equal numbers and equal counts, and take turns in one cache."""
    place, other = places
    give(place, "acme")
    copy_registry(place, other)
    first, second = give(place, "bell"), give(other, "core")
    for _ in range(2):
        assert verdict(place, first["bell"]) == "licensee bell"
        assert verdict(place, second["core"]) == "not-ours"
        assert verdict(other, second["core"]) == "licensee core"
        assert verdict(other, first["bell"]) == "not-ours"


def test_two_registries_share_a_cache(places: tuple[str, str], cache: Path) -> None:
    first, second = (
        give(place, name) for place, name in zip(places, ("acme", "bell"), strict=True)
    )
    for _ in range(2):
        assert verdict(places[0], first["acme"]) == "licensee acme"
        assert verdict(places[1], second["bell"]) == "licensee bell"
        assert verdict(places[0], second["bell"]) == "not-ours"
    assert len(list(cache.iterdir())) == 2


def test_an_index_is_kept_until_fingerprints_are_added(place: str, written: list[Path]) -> None:
    """Other events do not matter to it."""
    given = give(place, "acme", "bell")
    for _ in range(2):
        assert verdict(place, given["bell"]) == "licensee bell"
    with Registry.open(place) as registry:
        registry.revoke("acme", "leak")
        other = registry.add_model("12" * 32, "34" * 32, NUM_BITS, "other")
        registry.reserve(other, [("bell", "")], min_distance=8)
    assert verdict(place, given["bell"]) == "licensee bell"
    assert len(written) == 1
    give(place, "core")
    assert verdict(place, given["bell"]) == "licensee bell"
    assert len(written) == 2


@pytest.mark.parametrize("whose", ["of another registry", "of another model", "of nobody"])
def test_a_swapped_index_is_written_anew(
    tmp_path: Path, cache: Path, whose: str, written: list[Path]
) -> None:
    """A whole and sound file, but of others, under the name of this registry's."""
    place, other = str(tmp_path / "registry.db"), str(tmp_path / "other.db")
    given = give(place, "acme", "bell")
    assert verdict(place, given["bell"]) == "licensee bell"
    (path,) = cache.iterdir()
    give(other, "core", "dora")
    with Registry.open(other if whose == "of another registry" else place) as registry:
        (model,) = registry.models()
        if whose == "of another model":
            model = registry.add_model("12" * 32, "34" * 32, NUM_BITS, "other")
            registry.reserve(model, [("core", ""), ("dora", "")], min_distance=8)
        state = "" if whose == "of nobody" else registry.state(model)
        write_index(path, registry.packed(model), NUM_BITS, of=state)
    del written[:]
    with pytest.MonkeyPatch.context() as patch:  # where nobody is named as well
        patch.setattr(Detector, "_registered", None)
        assert verdict(place, np.ones(NUM_BITS)) == "not-ours"
    assert written == [path]
    assert verdict(place, given["bell"]) == "licensee bell"


@pytest.mark.parametrize("offset", [0, 8, 10, 12, 20, 40, 60, 83, 84, -1])
def test_any_changed_byte_is_noticed(tmp_path: Path, cache: Path, offset: int) -> None:
    place = str(tmp_path / "registry.db")
    given = give(place, "acme", "bell")
    assert verdict(place, given["bell"]) == "licensee bell"
    (path,) = cache.iterdir()
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match="delete it"):
        PackedIndex.open(path)
    assert verdict(place, given["bell"]) == "licensee bell"
    PackedIndex.open(path)


def lie(registry: Registry, model: Model, path: Path) -> None:
    """An index that fits in every respect, but in which two fingerprints are exchanged."""
    ((numbers, words),) = registry.packed(model)
    write_index(path, [(numbers, words[::-1])], NUM_BITS, of=registry.state(model))


def test_no_name_is_given_that_the_registry_does_not_confirm(
    tmp_path: Path, cache: Path, written: list[Path]
) -> None:
    """Whatever the index says: the bits of who is named are compared with the registry's."""
    given = give(str(tmp_path / "registry.db"), "acme", "bell")
    with Registry.open(str(tmp_path / "registry.db")) as registry:
        (model,) = registry.models()
        open_index(registry, model)
        (path,) = cache.iterdir()
        lie(registry, model, path)
        detector = Detector(registry, model)
        assert detector.judge(given["bell"]).text == "licensee bell"
        assert len(written) == 2
        ((entry, matches, _),) = Detector(registry, model).candidates(given["acme"][None], 1)
        assert (entry.licensee, matches) == ("acme", NUM_BITS)
        lie(registry, model, path)
        ((entry, matches, _),) = Detector(registry, model).candidates(given["acme"][None], 1)
        assert (entry.licensee, matches) == ("acme", NUM_BITS)


def test_a_detector_that_outlives_a_restore_gives_no_wrong_name(places: tuple[str, str]) -> None:
    place, backup = places
    given = give(place, "acme")
    copy_registry(place, backup)
    given |= give(place, "bell")
    with Registry.open(place) as registry:
        detector = Detector(registry, registry.models()[0])
        assert detector.judge(given["bell"]).text == "licensee bell"
        registry.close()  # connections; the object goes on
        copy_registry(backup, place)
        given |= give(place, "core")
        assert detector.judge(given["bell"]).text == "not-ours"
        assert detector.judge(given["core"]).text == "licensee core"


def test_a_registry_that_outlives_a_restore_keeps_the_distance(places: tuple[str, str]) -> None:
    """Among the fingerprints that are compared with a new one is the one that was given since."""
    place, backup = places
    give(place, "acme")
    copy_registry(place, backup)
    with Registry.open(place) as registry:
        (model,) = registry.models()
        registry.reserve(model, [("bell", "")], min_distance=8)
        registry.close()
        copy_registry(backup, place)
        give(place, "core")
        registry.reserve(model, [("dora", "")], min_distance=8)
        known = registry._licensing._known[model.id].words
        bits = np.stack([entry.bits for entry in registry.fingerprints()])
    np.testing.assert_array_equal(known, pack_bits(bits)[:-1])  # acme's and core's


def test_fingerprints_added_while_an_index_is_written_belong_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file never holds more than the state that it names."""
    place = str(tmp_path / "registry.db")
    give(place, "acme")
    with Registry.open(place) as registry:
        (model,) = registry.models()
        original, added = registry.packed, []

        def packed(model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            if not added:
                added.append(give(place, "bell"))
            return original(model)

        monkeypatch.setattr(registry, "packed", packed)
        index = open_index(registry, model)
        state = registry.state(model)
        assert index.ids.tolist() == ids(place)
    (path,) = (tmp_path / "cache" / "index").iterdir()
    assert PackedIndex.open(path, of=state).ids.tolist() == ids(place)

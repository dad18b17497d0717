"""A bit that flipped in a snapshot is found when it is read."""

from pathlib import Path

import pytest

import run_generator
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE
from tests.support.tiny_networks import tiny_generator
from training.models import checksums
from training.models.snapshot import load_networks, save_snapshot


def test_a_flipped_bit_in_the_weights(tmp_path: Path) -> None:
    """Of any array, at any place of it."""
    path = tmp_path / "a.pkl"
    save_snapshot(path, Gs=tiny_generator(1))
    load_networks(path)
    whole = bytearray(path.read_bytes())
    variables = load_networks(path).fingerprinted.named_variables()
    num_found = 0
    for variable in variables.values():
        data = variable.numpy().tobytes()
        if len(set(data)) < 8:  # which may be found elsewhere
            continue
        at = whole.find(data)
        for place in (at, at + len(data) // 2, at + len(data) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(UserError, match="is not what was saved: the file is damaged"):
                load_networks(path)
            num_found += 1
    assert num_found > 30


def test_one_command_says_it_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    save_snapshot(path, Gs=tiny_generator(1))
    content = bytearray(path.read_bytes())
    data = tiny_generator(1).named_variables()["G_synthesis/4x4/Conv/weight"].numpy().tobytes()
    content[content.find(data)] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="the variable G_synthesis/4x4/Conv/weight of Gs") as error:
        run_generator.main(
            ["generate-images", f"--network={path}", f"--result-dir={tmp_path}", "--seeds=0"]
        )
    assert len(str(error.value).splitlines()) == 1


def test_files_of_earlier_versions_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """And published ones, once each."""
    checksums.say_there_are_none.cache_clear()
    previous = REFERENCE.parent / "previous" / "network.pkl"
    published = REFERENCE / "snapshot_resnet_skip_16.pkl"
    for path in (previous, published):
        for _ in range(2):
            load_networks(path)
        lines = capsys.readouterr().err.splitlines()
        assert lines == [f"{path} has no checksums: a damaged file would not show"]

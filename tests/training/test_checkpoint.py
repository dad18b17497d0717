"""Checkpoints: complete or not there, the newest that is whole, all that a run needs."""

import dataclasses
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.atomic import temporary_name
from dnnlib.errors import UserError
from tests.support.checkpoints import POSITION, cut_variables, damage_position, damage_variables
from training.checkpoint import (
    FOLDER,
    Checkpoints,
    Position,
    list_checkpoints,
    read_position,
    remove_remains,
)


def make_variables(offset: float = 0.0) -> dict[str, tf.Variable]:
    values = np.arange(6, dtype=np.float32).reshape(2, 3) + np.float32(offset)
    return {
        "G/4x4/Conv/weight": tf.Variable(values),
        "G/adam/updates": tf.Variable(3 + int(offset), dtype=tf.int64),
    }


def save(run_dir: Path, offset: float = 0.0, keep: int = 2, **changes: object) -> Path:
    position = dataclasses.replace(POSITION, **changes)
    return Checkpoints(run_dir, make_variables(offset), keep, Position).save(position)


def names(run_dir: Path) -> list[str]:
    return [path.name for path in list_checkpoints(run_dir)]


def test_round_trip(tmp_path: Path) -> None:
    path = save(tmp_path)
    assert path == tmp_path / "checkpoints" / "000000"
    variables = make_variables(offset=100)
    assert Checkpoints(tmp_path, variables, 2, Position).restore() == POSITION
    for name, expected in make_variables().items():
        np.testing.assert_array_equal(variables[name], expected)
    assert read_position(tmp_path) == POSITION


def test_nothing_there(tmp_path: Path) -> None:
    variables = make_variables()
    assert Checkpoints(tmp_path, variables, 2, Position).restore() is None
    assert read_position(tmp_path) is None
    np.testing.assert_array_equal(variables["G/adam/updates"], 3)


@pytest.mark.parametrize("keep", [1, 3, 4, 9])
def test_only_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    for number in range(5):
        save(tmp_path, offset=number, keep=keep, iteration=number)
    assert names(tmp_path) == [f"{number:06d}" for number in range(5)][-keep:]
    variables = make_variables()
    position = Checkpoints(tmp_path, variables, keep, Position).restore()
    assert position is not None
    assert position.iteration == 4
    np.testing.assert_array_equal(variables["G/adam/updates"], 7)


def test_more_than_a_million(tmp_path: Path) -> None:
    """Numbers of more digits stay in order."""
    save(tmp_path).rename(tmp_path / FOLDER / "999999")
    save(tmp_path, iteration=8)
    assert names(tmp_path) == ["999999", "1000000"]
    position = read_position(tmp_path)
    assert position is not None
    assert position.iteration == 8


def damage_index(path: Path) -> None:
    index = path / "variables.index"
    index.write_bytes(index.read_bytes()[:-5])


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    "damage", [damage_variables, cut_variables, damage_index, damage_position, empty]
)
def test_a_damaged_one_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage
) -> None:
    save(tmp_path, offset=1, iteration=1)
    damage(save(tmp_path, offset=2, iteration=2))
    variables = make_variables()
    position = Checkpoints(tmp_path, variables, 2, Position).restore()
    assert position is not None
    assert position.iteration == 1
    np.testing.assert_array_equal(variables["G/adam/updates"], 4)
    np.testing.assert_array_equal(variables["G/4x4/Conv/weight"][0], [1, 2, 3])
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {tmp_path / FOLDER / '000001'} cannot be read (")
    assert len(warning.splitlines()) == 1
    # The next one does not take its number.
    assert save(tmp_path).name == "000002"


def test_none_is_whole(tmp_path: Path) -> None:
    damage_variables(save(tmp_path))
    with pytest.raises(UserError, match=r"no checkpoint in .*checkpoints can be read; .*--resume"):
        Checkpoints(tmp_path, make_variables(), 2, Position).restore()


def test_variables_of_another_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that lacks a variable is not taken for whole."""
    save(tmp_path)
    with pytest.raises(UserError, match="no checkpoint in"):
        Checkpoints(tmp_path, make_variables() | {"D/x": tf.Variable(0.0)}, 2, Position).restore()
    assert "cannot be read" in capsys.readouterr().err


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    save(tmp_path)
    variables = make_variables()
    variables["G/4x4/Conv/weight"][1, 2].assign(np.nan)
    with pytest.raises(UserError, match="diverged: G/4x4/Conv/weight is not finite; .* is kept"):
        Checkpoints(tmp_path, variables, 1, Position).save(POSITION)
    assert names(tmp_path) == ["000000"]
    assert Checkpoints(tmp_path, make_variables(), 2, Position).restore() == POSITION


def test_no_space(tmp_path: Path) -> None:
    """The older ones stay, nothing half written does, and the text says what to do."""
    save(tmp_path, keep=1)
    big = {"G/w": tf.Variable(tf.zeros([300_000]))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*/checkpoints/000001: .*; ") as error:
            Checkpoints(tmp_path, big, 1, Position).save(POSITION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["000000"]
    assert Checkpoints(tmp_path, make_variables(), 2, Position).restore() == POSITION


def test_remains_of_a_killed_process(tmp_path: Path) -> None:
    path = save(tmp_path)
    removed = temporary_name(tmp_path / FOLDER / "000001")
    for half in (tmp_path / FOLDER / "000001.incomplete-01234567", removed):
        half.mkdir()
        (half / "variables.index").touch()
    temporary_name(tmp_path / "network-final.pkl").touch()
    (tmp_path / "log.txt").touch()
    assert names(tmp_path) == ["000000"]
    remove_remains(tmp_path)
    assert os.listdir(tmp_path / FOLDER) == [path.name]
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "log.txt"]

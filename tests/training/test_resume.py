"""Which folder a command goes on with, and what it says when it cannot."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnnlib.config import differences, load_json, save_json
from dnnlib.errors import UserError
from dnnlib.locks import try_lock_folder
from tests.support.checkpoints import POSITION
from training.checkpoint import FOLDER, read_position
from training.config import TrainConfig, TrainOptions, setup_training_config
from training.resume import (
    SETTINGS_FILE,
    begin_run,
    find_run,
    settings_of,
    write_settings,
)

NUM_IMAGES = 50


def make_config(**options: object) -> TrainConfig:
    return setup_training_config(
        TrainOptions(**{"dataset": "noise", "config": "config-tiny", **options}), 32, 3
    )


def make_run(
    result_dir: Path, number: int, config: TrainConfig, num_images: int = NUM_IMAGES, **position
) -> Path:
    """A run folder with a checkpoint, or without one for `iteration=None`."""
    path = result_dir / f"{number:05d}-{config.description}"
    path.mkdir(parents=True)
    save_json(config, path / SETTINGS_FILE)
    if position.get("iteration", 0) is not None:
        folder = path / FOLDER / "000003"
        folder.mkdir(parents=True)
        found = dataclasses.replace(
            POSITION, **{"settings": settings_of(config, num_images), **position}
        )
        save_json(found, folder / "position.json")
    return path


def find(result_dir: Path, resume: str = "auto", num_images: int = NUM_IMAGES, **options):
    """The folder found, unlocked again; whether it held a run before; its newest position."""
    runs = {settings.parent for settings in result_dir.glob(f"*/{SETTINGS_FILE}")}
    config = make_config(**options)
    found = find_run(str(result_dir), resume, config, num_images) or begin_run(
        str(result_dir), config
    )
    write_settings(found, config)
    assert found.lock is not None
    found.close()
    return SimpleNamespace(
        path=found.path, resumed=found.path in runs, position=read_position(found.path)
    )


def test_new_where_there_is_none(tmp_path: Path) -> None:
    found = find(tmp_path / "results")
    assert found.path == tmp_path / "results" / f"00000-{make_config().description}"
    assert not found.resumed
    assert found.position is None
    assert load_json(TrainConfig, found.path / SETTINGS_FILE) == make_config()
    # Killed now, it would not leave a folder behind that nobody goes on with.
    assert find(tmp_path / "results").path == found.path


def test_the_newest_goes_on(tmp_path: Path) -> None:
    for number in (0, 9, 10):
        make_run(tmp_path, number, make_config(), iteration=number)
    found = find(tmp_path)
    assert found.path.name.startswith("00010-")
    assert found.resumed
    assert found.position is not None
    assert found.position.iteration == 10


def test_killed_before_its_first_checkpoint(tmp_path: Path) -> None:
    path = make_run(tmp_path, 0, make_config(), iteration=None)
    found = find(tmp_path)
    assert (found.path, found.resumed, found.position) == (path, True, None)
    assert find(tmp_path, seed=1).path != path


def test_killed_before_its_first_file(tmp_path: Path) -> None:
    """The empty folder is used, unless its name tells of something else."""
    path = tmp_path / f"00000-{make_config().description}"
    path.mkdir()
    (path / ".lock").touch()
    (path / ".training_options.json.01234567.tmp").touch()
    assert find(tmp_path, watermark_size=16).path.name.startswith("00001-")
    found = find(tmp_path)
    assert (found.path, found.resumed, found.position) == (path, False, None)


def test_a_folder_that_lost_its_settings(tmp_path: Path) -> None:
    path = make_run(tmp_path, 0, make_config())
    (path / SETTINGS_FILE).unlink()
    assert find(tmp_path).path.name.startswith("00001-")


def test_none_starts_anew(tmp_path: Path) -> None:
    make_run(tmp_path, 4, make_config())
    assert find(tmp_path, "none").path.name.startswith("00005-")


def test_a_live_process_holds_its_run(tmp_path: Path) -> None:
    first = make_run(tmp_path, 0, make_config())
    second = make_run(tmp_path, 1, make_config())
    lock = try_lock_folder(second)
    assert lock is not None
    assert find(tmp_path).path == first
    with pytest.raises(UserError, match="-32bits is in use by another process; "):
        find(tmp_path, str(second))
    lock.close()
    assert find(tmp_path).path == second


def test_a_process_that_ends_lets_go(tmp_path: Path) -> None:
    path = make_run(tmp_path, 0, make_config())
    child = os.fork()
    if child == 0:
        held = try_lock_folder(path)
        os._exit(0 if held is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert find(tmp_path).path == path


def test_finished(tmp_path: Path) -> None:
    """Left alone by auto; named, it says so, or goes on with more kimg."""
    path = make_run(tmp_path, 0, make_config(total_kimg=2), finished=True)
    assert find(tmp_path, total_kimg=2).path.name.startswith("00001-")
    with pytest.raises(UserError, match=r"has finished at 0.448 kimg; raise --total-kimg"):
        find(tmp_path, str(path), total_kimg=0.448)
    found = find(tmp_path, str(path), total_kimg=3)
    assert (found.path, found.resumed) == (path, True)


@pytest.mark.parametrize(
    "options",
    [
        {"total_kimg": 7.0},
        {"metrics": ("watermark_accuracy_1k",)},
        {"snapshot_ticks": 3, "image_snapshot_ticks": 4, "kimg_per_tick": 0.1},
        {"checkpoint_minutes": 1.0, "keep_checkpoints": 5},
        {"data_dir": "elsewhere"},
        {"inception": "graph.pb"},
        {"ops": "reference"},
    ],
)
def test_what_may_differ(tmp_path: Path, options: dict[str, object]) -> None:
    path = make_run(tmp_path, 0, make_config())
    assert find(tmp_path, **options).path == path
    assert load_json(TrainConfig, path / SETTINGS_FILE) == make_config(**options)
    assert find(tmp_path, str(path), **options).path == path


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": 1}, "seed (1000, now 1)"),
        ({"minibatch": 16}, "minibatch (8, now 16)"),
        ({"watermark_size": 16}, "num_bits (32, now 16), G.fingerprint_size (32, now 16)"),
        ({"gamma": 2.0}, "loss.gamma (1.0, now 2.0)"),
        ({"decouple_weight": 5.0}, "loss.decouple (5@40,150@100, now 5.0)"),
        ({"mirror_augment": True}, "mirror_augment (False, now True)"),
        ({"resume_pkl": "a.pkl"}, "resume_pkl (None, now a.pkl)"),
        ({"precision": "bf16"}, "precision (fp32, now bf16)"),
    ],
)
@pytest.mark.parametrize("iteration", [5, None])
def test_what_must_not_differ(
    tmp_path: Path, options: dict[str, object], text: str, iteration: int | None
) -> None:
    """Also when it was killed before its first checkpoint."""
    path = make_run(tmp_path, 0, make_config(), iteration=iteration)
    assert find(tmp_path, **options).path != path
    with pytest.raises(UserError) as error:
        find(tmp_path, str(path), **options)
    assert str(error.value).startswith(f"--resume={path} is a run of other settings: {text}")
    assert "\n" not in str(error.value)


def test_another_data_set_of_that_name(tmp_path: Path) -> None:
    path = make_run(tmp_path, 0, make_config())
    assert find(tmp_path, num_images=49).path != path
    with pytest.raises(UserError, match=r"other settings: dataset_images \(50, now 49\); "):
        find(tmp_path, str(path), num_images=49)


@pytest.mark.parametrize("content", [None, "{", '{"other": 1}'])
def test_no_run(tmp_path: Path, content: str | None) -> None:
    """A folder of another command, or settings that cannot be read."""
    path = tmp_path / "00000-something"
    path.mkdir()
    if content is not None:
        (path / SETTINGS_FILE).write_text(content)
    assert find(tmp_path).path.name.startswith("00001-")
    expected = "is no run folder" if content is None else "cannot be read"
    with pytest.raises(UserError, match=expected):
        find(tmp_path, str(path))


def threads_of(result_dir: str, resume: str, config: TrainConfig, **options: bool) -> int | None:
    """Of the run that is found."""
    found = find_run(result_dir, resume, config, NUM_IMAGES, **options)
    if found is None:
        return None
    found.close()
    return found.threads


def test_threads_of_the_run_that_goes_on(tmp_path: Path) -> None:
    config = make_config()
    where = (str(tmp_path), "auto", config)
    assert threads_of(*where) is None
    path = make_run(tmp_path, 0, config, environment={"threads": 3})
    assert threads_of(*where) == 3
    assert threads_of(str(tmp_path), "none", config) is None
    assert threads_of("elsewhere", str(path), config) == 3
    assert threads_of(str(tmp_path), "auto", make_config(seed=1)) is None
    finished = make_run(tmp_path, 1, config, environment={"threads": 5}, finished=True)
    assert threads_of(*where) == 3
    assert threads_of("elsewhere", str(finished), config) == 5


def test_threads_of_a_run_that_is_alive_are_its_own(tmp_path: Path) -> None:
    """A second command gets a run of its own; the workers of the first one look at its run."""
    config = make_config()
    path = make_run(tmp_path, 0, config, environment={"threads": 1})
    lock = try_lock_folder(path)
    assert lock is not None
    assert threads_of(str(tmp_path), "auto", config) is None
    assert threads_of(str(tmp_path), "auto", config, is_chief=False) == 1
    lock.close()
    assert threads_of(str(tmp_path), "auto", config) == 1


def test_differences() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": 3}, "e": None}
    assert differences(before, before) == []
    now = {"a": 1, "b": {"c": [1, 3], "d": 3}, "f": "x"}
    assert differences(before, now) == ["b.c ([1, 2], now [1, 3])", "f (None, now x)"]

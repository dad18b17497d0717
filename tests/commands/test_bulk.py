"""Many pictures: shards, files of results that go on after a kill, bounded work ahead."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import run_fingerprints
from dnnlib import growing
from dnnlib.errors import UserError
from fingerprints import image_files
from fingerprints.detection.detector import Detector
from fingerprints.registry.facade import Registry
from gan_fingerprints.work import bulk
from gan_fingerprints.work.images import Reader, load_decoder
from gan_fingerprints.work.output import Line
from gan_fingerprints.work.results import DECODE_COLUMNS, VERDICT_COLUMNS, open_results
from tests.support.bulk import (
    NUM_BITS,
    NUM_PICTURES,
    Place,
    assert_same_verdicts,
    make_place,
)
from tests.support.paths import ROOT

SUFFIXES = ("jsonl", "parquet")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return make_place(tmp_path_factory.mktemp("bulk"))


def out_of(folder: Path, suffix: str) -> Path:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    return folder / f"results.{suffix}"


def run(capsys, place: Place, command: str, *arguments: str | Path) -> list[dict]:
    """What a command prints as JSON."""
    capsys.readouterr()
    run_fingerprints.main([*place.flags(command), "--json", *map(str, arguments)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def rows_of(path: Path) -> list[dict]:
    """The results in a file, without what is None."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def printed_rows(capsys, place: Place, command: str, *arguments) -> list[dict]:
    *rows, _ = run(capsys, place, command, *arguments)
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("command", ["verify", "attribute"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_hold_what_is_printed(capsys, place, tmp_path, command, suffix):
    out = out_of(tmp_path, suffix)
    printed = printed_rows(capsys, place, command, place.pictures)
    (line,) = run(capsys, place, command, f"--out={out}", place.pictures)
    assert rows_of(out) == printed
    assert len(printed) == NUM_PICTURES
    assert [row["file"] for row in printed] == sorted(
        (row["file"] for row in printed), key=lambda name: (name.count("/"), name)
    )
    assert line["summary"]["images"] == NUM_PICTURES
    assert line["summary"]["resumed"] == 0
    (line,) = run(capsys, place, command, f"--out={out}", place.pictures)
    assert rows_of(out) == printed
    assert line["summary"]["resumed"] == line["summary"]["images"] == NUM_PICTURES
    assert line["summary"]["wrong_name_rate"] == printed[0]["wrong_name_rate"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_decode_writes_what_it_prints(capsys, place, tmp_path, suffix):
    out = out_of(tmp_path, suffix)
    expect = f"--expect={'0' * NUM_BITS}"
    *printed, summary = run(capsys, place, "decode", expect, place.pictures)
    (line,) = run(capsys, place, "decode", expect, f"--out={out}", place.pictures)
    assert rows_of(out) == printed
    assert line == summary
    (line,) = run(capsys, place, "decode", expect, f"--out={out}", place.pictures)
    assert line["summary"] == summary["summary"] | {"resumed": NUM_PICTURES}


def test_every_key_of_a_verdict_has_a_column(place):
    with Registry.open(str(place.registry)) as registry:
        detector = Detector(registry, registry.models()[0])
        finding = detector.judge(np.random.default_rng(0).standard_normal(NUM_BITS))
    assert finding.to_dict().keys() <= VERDICT_COLUMNS.keys()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_new_pictures_are_added(capsys, place, tmp_path, suffix):
    out = out_of(tmp_path, suffix)
    run(capsys, place, "verify", f"--out={out}", place.pictures / "a" / "deep")
    num_deep = len(rows_of(out))
    (line,) = run(capsys, place, "verify", f"--out={out}", place.pictures)
    assert line["summary"]["resumed"] == num_deep > 0
    assert_same_verdicts(rows_of(out), printed_rows(capsys, place, "verify", place.pictures))


# Shards


def test_shards_are_disjoint_and_complete():
    names = [f"folder/{number}.png" for number in range(2000)]
    for num_shards in (1, 2, 3, 7):
        parts = [[n for n in names if bulk.Shard(i, num_shards).has(n)] for i in range(num_shards)]
        assert sorted(sum(parts, [])) == sorted(names)
        for part in parts:  # about equally large: six standard deviations
            expected = len(names) / num_shards
            assert abs(len(part) - expected) <= 6 * expected**0.5


def test_verdicts_do_not_depend_on_the_number_of_shards(capsys, place):
    whole = printed_rows(capsys, place, "verify", place.pictures)
    for num_shards in (2, 3):
        parts = [
            printed_rows(capsys, place, "verify", f"--shard={i}/{num_shards}", place.pictures)
            for i in range(num_shards)
        ]
        assert_same_verdicts(sum(parts, []), whole)


def test_fwer_counts_the_pictures_of_all_shards(capsys, place):
    rows = printed_rows(capsys, place, "verify", "--fwer=0.1", "--shard=1/2", place.pictures)
    assert 0 < len(rows) < NUM_PICTURES
    assert {row["level"] for row in rows} == {0.1 / NUM_PICTURES}


def test_pools_are_not_divided_among_shards(capsys, place):
    sources = [place.pictures / "a" / "deep", *sorted(place.pictures.glob("*.png"))]
    flags = ["--pool", "--fwer=0.1", *sources]
    whole = printed_rows(capsys, place, "verify", *flags)
    parts = [printed_rows(capsys, place, "verify", f"--shard={i}/2", *flags) for i in range(2)]
    assert all(parts)
    assert sorted(row["file"] for row in sum(parts, [])) == sorted(map(str, sources))
    images = {row["file"]: row["images"] for row in sum(parts, [])}
    assert images == {row["file"]: row["images"] for row in whole}
    assert images[str(sources[0])] > 1
    assert {row["level"] for row in sum(parts, [])} == {0.1 / len(sources)}


def test_an_empty_shard_says_so(place):
    picture = next(place.pictures.glob("*.png"))
    empty = 1 - next(i for i in range(2) if bulk.Shard(i, 2).has(str(picture)))
    args = place.arguments("decode", f"--shard={empty}/2", picture)
    with pytest.raises(UserError, match=f"nothing of these 1 belongs to --shard={empty}/2; use"):
        bulk.find_work(args)


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "1/0", "1/2/3"])
def test_shards_are_written_as_i_of_n(text, capsys):
    with pytest.raises(SystemExit):
        run_fingerprints.main(["decode", "--network=n.pkl", f"--shard={text}", "i.png"])
    assert "use I/N, such as 0/4 to 3/4" in capsys.readouterr().err


def test_results_have_one_of_two_endings(capsys):
    with pytest.raises(SystemExit):
        run_fingerprints.main(["decode", "--network=n.pkl", "--out=results.csv", "i.png"])
    assert "'results.csv' ends with neither .jsonl nor .parquet" in capsys.readouterr().err


# Kills


def fake_run(place: Place, out: Path, kill_at: int | None = None) -> bulk.Tally:
    """A command whose results are made up, which may kill its process before the k-th batch."""
    args = place.arguments("decode", f"--out={out}", place.pictures)
    work = bulk.find_work(args)

    def results_of(names, num_done):
        for start in range(0, len(names), 4):
            if start // 4 == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield [Line({"file": name, "num_bits": 1}, "") for name in names[start : start + 4]]

    with open_results(args, {}, DECODE_COLUMNS) as results:
        return bulk.run(work, results, results_of)


def killed(work) -> None:
    """Runs `work` in a process that kills itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)  # not reached by who is killed
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill_self(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kill_at", [0, 1, 4])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_kill_between_batches(place, tmp_path, monkeypatch, suffix, kill_at):
    monkeypatch.setattr(growing, "_PART_ROWS", 8)
    out = out_of(tmp_path, suffix)
    killed(partial(fake_run, place, out, kill_at))
    num_kept = len(rows_of(out)) if suffix == "jsonl" or any(out.glob("*.parquet")) else 0
    assert num_kept == (4 * kill_at if suffix == "jsonl" else kill_at // 2 * 8)
    tally = fake_run(place, out)
    names = [row["file"] for row in rows_of(out)]
    assert names == bulk.find_work(place.arguments("decode", place.pictures)).names
    assert (tally.num_images, tally.num_resumed) == (NUM_PICTURES, num_kept)


def test_a_kill_within_a_line(place, tmp_path, monkeypatch):
    out = tmp_path / "results.jsonl"

    def half(self, rows):
        self._file.write(json.dumps(rows[0]).encode() + b'\n{"file": "half')
        kill_self()

    with monkeypatch.context() as patch:
        patch.setattr(growing.JsonLines, "add", half)
        killed(partial(fake_run, place, out))
    assert not out.read_bytes().endswith(b"\n")
    assert fake_run(place, out).num_resumed == 1
    assert len({row["file"] for row in rows_of(out)}) == len(rows_of(out)) == NUM_PICTURES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_kill_before_a_file_has_its_name(place, tmp_path, monkeypatch, suffix):
    """The record of the command; the first part of Parquet results comes after it."""
    out = out_of(tmp_path, suffix)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill_self)
        killed(partial(fake_run, place, out))
    assert fake_run(place, out).num_resumed == 0
    assert len(rows_of(out)) == NUM_PICTURES
    assert not list(out.glob(".*.tmp"))


@pytest.mark.slow
def test_a_killed_command_goes_on(capsys, place, tmp_path):
    out = tmp_path / "results.jsonl"
    flags = [*place.flags("verify"), f"--out={out}", str(place.pictures)]
    process = subprocess.Popen([sys.executable, "run_fingerprints.py", *flags], cwd=ROOT)
    while process.poll() is None and not (out.exists() and out.read_bytes().count(b"\n")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    num_kept = out.read_bytes().count(b"\n")
    (line,) = run(capsys, place, "verify", f"--out={out}", place.pictures)
    assert line["summary"]["resumed"] == num_kept > 0
    assert line["summary"]["images"] == NUM_PICTURES
    assert [row["file"] for row in rows_of(out)] == [
        row["file"] for row in printed_rows(capsys, place, "verify", place.pictures)
    ]


# Other commands on the same results


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (["--fpr=1e-3"], "level 1e-06, and this is 0.001"),
        (["--fwer=0.5"], "level 1e-06, and this is 0.02173"),
        (["--licensee=licensee-1"], "--licensee null, and this is licensee-1"),
        (["--shard=0/2"], "--shard null, and this is "),
        (["--pool"], "--pool false, and this is true"),
        (["--resize"], "--resize false, and this is true"),
    ],
)
def test_another_command_is_refused(capsys, place, tmp_path, other, what):
    out = tmp_path / "results.jsonl"
    run(capsys, place, "verify", f"--out={out}", place.pictures)
    before = out.read_bytes()
    with pytest.raises(UserError) as error:
        run(capsys, place, "verify", *other, f"--out={out}", place.pictures)
    assert f"--out={out} was begun with " in str(error.value)
    assert what in str(error.value)
    assert str(error.value).endswith("give the same command again, or name another --out")
    assert "\n" not in str(error.value)
    assert out.read_bytes() == before
    with pytest.raises(UserError, match="was begun with the command verify, and this is decode"):
        run(capsys, place, "decode", f"--out={out}", place.pictures)


def test_speed_and_form_may_change(capsys, place, tmp_path):
    out = tmp_path / "results.jsonl"
    run(capsys, place, "verify", f"--out={out}", place.pictures)
    run_fingerprints.main([
        "verify", f"--network={place.network}", f"--registry={place.registry}", "--recursive",
        "--ops=reference", "--minibatch=7", f"--out={out}", str(place.pictures),
    ])  # fmt: skip
    assert f"{NUM_PICTURES} images from earlier calls" in capsys.readouterr().out


def test_another_state_of_the_registry_is_refused(capsys, tmp_path):
    place = make_place(tmp_path)
    out = tmp_path / "results.jsonl"
    run(capsys, place, "verify", f"--out={out}", place.pictures)
    with Registry.open(str(place.registry)) as registry:
        registry.reserve(registry.models()[0], [("late", "")], min_distance=4)
    with pytest.raises(UserError, match="was begun with the registered fingerprints "):
        run(capsys, place, "verify", f"--out={out}", place.pictures)


def test_results_without_a_record_are_refused(capsys, place, tmp_path):
    out = tmp_path / "results.jsonl"
    out.write_text('{"file": "a.png"}\n')
    with pytest.raises(UserError, match=r"results\.jsonl\.command\.json, .* is not; name another"):
        run(capsys, place, "verify", f"--out={out}", place.pictures)
    (tmp_path / "results.parquet").write_text("")
    with pytest.raises(UserError, match="is a file; Parquet results are a folder"):
        run(capsys, place, "verify", f"--out={tmp_path / 'results.parquet'}", place.pictures)


# Files that cannot be read


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bad_files_are_rows_once(capsys, place, tmp_path, suffix):
    out = out_of(tmp_path, suffix)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"")
    flags = [f"--out={out}", tmp_path / "bad", place.pictures / "a"]
    for _ in range(2):
        with pytest.raises(UserError, match="^1 of 16 images could not be read, see their rows in"):
            run(capsys, place, "verify", *flags)
        summary = json.loads(capsys.readouterr().out)["summary"]
        assert (summary["images"], summary["unreadable"]) == (15, 1)
    bad = [row for row in rows_of(out) if "error" in row]
    assert len(rows_of(out)) == 16
    assert [row["file"] for row in bad] == [str(tmp_path / "bad" / "bad.png")]
    assert "the file is empty" in bad[0]["error"]


def test_pools_of_bad_files_are_done_once(capsys, place, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"")
    flags = ["--pool", f"--out={tmp_path / 'r.jsonl'}", tmp_path / "bad", place.pictures / "a"]
    for _ in range(2):
        with pytest.raises(UserError, match="^1 of 16 images could not be read"):
            run(capsys, place, "verify", *flags)
    names = [Path(row["file"]).name for row in rows_of(tmp_path / "r.jsonl")]
    assert names == ["bad.png", "a"]


# Ahead


def test_files_are_read_ahead_but_not_far(place, monkeypatch):
    """However slowly results are taken, a few batches wait and no more."""
    lock = threading.Lock()
    read = 0
    original = image_files.read_image

    def counting(*args, **kwargs):
        nonlocal read
        with lock:
            read += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(image_files, "read_image", counting)
    picture = str(next(place.pictures.glob("*.png")))
    minibatch, threads = 4, image_files.num_cores()
    args = place.arguments("decode", picture)
    reader = Reader(args, load_decoder(args.network)[0], 400)  # few: by `read_image`
    batches = reader.batches([picture] * 4000)
    for taken in range(1, 5):
        next(batches)
        time.sleep(0.2)
        # Being read or waiting: threads + 1; in the network's queue or decoded: ahead + 1.
        most = taken + threads + 1 + reader.ahead + 1
        assert taken * minibatch < read <= most * minibatch < 4000
    batches.close()
    assert read <= most * minibatch


@pytest.mark.parametrize(("minibatch", "expected"), [(1, 32), (4096, 16), (1 << 20, 2)])
def test_fewer_batches_wait_that_are_large(place, minibatch, expected):
    args = place.arguments("decode", str(next(place.pictures.glob("*.png"))))
    args.minibatch = minibatch
    network = load_decoder(args.network)[0]
    reader = Reader(args, network, minibatch)
    assert reader.ahead == expected


def test_views_go_through_the_network_together(place):
    args = place.arguments("decode", place.pictures)
    network = load_decoder(args.network)[0]
    paths = bulk.find_work(args).names
    plain = list(Reader(args, network, len(paths)).read(paths))

    def mirrored_too(images: np.ndarray) -> np.ndarray:
        return np.stack([images, images[:, :, ::-1]], axis=1)

    both = list(Reader(args, network, len(paths), expand=mirrored_too).read(paths))
    assert (
        [found.path for found in both] == [found.path for found in plain] == list(map(Path, paths))
    )
    for one, two in zip(plain, both, strict=True):
        assert two.logits.shape == (2, NUM_BITS)
        np.testing.assert_allclose(two.logits[0], one.logits, rtol=1e-4, atol=1e-4)
        assert np.abs(two.logits[1] - one.logits).max() > 1e-3

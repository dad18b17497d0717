"""The command: every flag takes effect, every mistake is one line, Ctrl-C in a real process."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import run_training
from dnnlib.errors import UserError
from dnnlib.tflib.devices import Devices
from gan_fingerprints.work import train as work
from tests.support.paths import ROOT
from tests.support.processes import interrupt_at
from tests.support.small_runs import ticks_of, write_images
from training.config import TrainConfig, TrainOptions, setup_training_config
from training.models.snapshot import load_networks


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    write_images(folder / "noise", 20)
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configurations that the command settles on; nothing is trained."""
    found: list[TrainConfig] = []

    def run(config: TrainConfig, dataset: object, devices: Devices, *, threads: int) -> None:
        assert (devices.num_replicas, threads >= 1) == (1, True)
        assert dataset.resolution == config.G.resolution  # type: ignore[attr-defined]
        found.append(config)

    monkeypatch.setattr(work, "Run", run)
    return found


def flags(data_dir: Path, *more: str) -> list[str]:
    return ["--dataset=noise", f"--data-dir={data_dir}", "--num-gpus=0", "--dry-run", *more]


def default_options(data_dir: Path) -> TrainOptions:
    return TrainOptions(dataset="noise", data_dir=str(data_dir))


# Flag -> field of TrainOptions and its value.
FLAGS: dict[str, tuple[str, object]] = {
    "--config=config-f": ("config", "config-f"),
    "--num-gpus=0": ("num_gpus", 1),
    "--watermark-size=64": ("watermark_size", 64),
    "--res-modulated-range=8-8": ("res_modulated_range", "8-8"),
    "--metrics=swd1k,watermark_accuracy_2k": ("metrics", ("swd1k", "watermark_accuracy_2k")),
    "--metrics=none": ("metrics", ()),
    "--total-kimg=1.5": ("total_kimg", 1.5),
    "--gamma=0": ("gamma", 0.0),
    "--gamma=auto": ("gamma", "auto"),
    "--recipe=recommended": ("recipe", "recommended"),
    "--fingerprint-maps=8-8": ("fingerprint_maps", "8-8"),
    "--fingerprint-biases": ("fingerprint_biases", True),
    "--immunize=light": ("immunize", "light"),
    "--edit-strength=0@1,1@2": ("edit_strength", "0@1,1@2"),
    "--augment=ada": ("augment", "ada"),
    "--cond=False": ("cond", False),
    "--decoupleL2-weight=5@60,15@80": ("decouple_weight", "5@60,15@80"),
    "--mirror-augment=True": ("mirror_augment", True),
    "--mirror-augment": ("mirror_augment", True),
    "--mirror-augment=0": ("mirror_augment", False),
    "--resume-pkl=a.pkl": ("resume_pkl", "a.pkl"),
    "--skip-bad-records": ("skip_bad_records", True),
    "--checkpoint-minutes=0": ("checkpoint_minutes", 0.0),
    "--keep-checkpoints=5": ("keep_checkpoints", 5),
    "--decoupleL2-weight=3": ("decouple_weight", 3.0),
    "--latentsRecL2-weight=0": ("latent_weight", 0.0),
    "--watermarkCls-weight=0.5": ("bits_weight", 0.5),
    "--distinct-fingerprints=5": ("distinct_fingerprints", 5),
    "--label-weight=0@1,2@3": ("label_weight", "0@1,2@3"),
    "--minibatch=16": ("minibatch", 16),
    "--minibatch-gpu=4": ("minibatch_gpu", 4),
    "--seed=0": ("seed", 0),
    "--kimg-per-tick=0.25": ("kimg_per_tick", 0.25),
    "--image-snapshot-ticks=7": ("image_snapshot_ticks", 7),
    "--snapshot-ticks=8": ("snapshot_ticks", 8),
    "--mapping=linear": ("mapping", "linear"),
    "--anchor-weight=2": ("anchor_weight", 2.0),
    "--gan-loss=rpgan": ("gan_loss", "rpgan"),
    "--learn=fingerprint": ("learn", "fingerprint"),
    "--discriminator-alone=5": ("discriminator_alone", 5.0),
    "--decoder-readout=4": ("decoder_readout", 4),
    "--inception=graph.pb": ("inception", "graph.pb"),
    "--ops=reference": ("ops", "reference"),
    "--precision=bf16": ("precision", "bf16"),
    "--clip-decoder-input=True": ("clip_decoder_input", True),
}
# What is not handed on to TrainOptions, or is tested with every call.
OTHERS = {
    "--help", "--verbose", "--dry-run", "--result-dir", "--dataset", "--data-dir", "--resume",
    "--threads", "--workers",
}  # fmt: skip


def test_table_of_flags_is_complete() -> None:
    parser = run_training.build_parser()
    known = {action.option_strings[-1] for action in parser._actions}
    assert known == {flag.partition("=")[0] for flag in FLAGS} | OTHERS


def test_defaults(data_dir: Path, seen: list[TrainConfig]) -> None:
    run_training.main(flags(data_dir))
    expected = setup_training_config(default_options(data_dir), 8, 3)
    assert seen == [expected]
    assert expected.config == "config-e-Gskip-Dresnet"
    assert (expected.num_bits, expected.modulated_log2) == (128, (2, 7))
    assert (expected.total_kimg, expected.mirror_augment) == (88000.0, False)


@pytest.mark.parametrize("flag", FLAGS)
def test_flag(data_dir: Path, seen: list[TrainConfig], flag: str) -> None:
    field, value = FLAGS[flag]
    run_training.main(flags(data_dir, flag))
    options = dataclasses.replace(default_options(data_dir), **{field: value})
    assert seen == [setup_training_config(options, 8, 3)]


@pytest.mark.parametrize(
    "flag", ["--decoupleL2-weight=5@80,15@60", "--watermarkCls-weight=x", "--edit-strength=-1"]
)
def test_bad_ramps(data_dir: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    with pytest.raises(SystemExit) as error:
        run_training.main(flags(data_dir, flag))
    assert error.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert flag.partition("=")[2] in last
    assert "points VALUE@KIMG such as 5@60,15@80" in last


def test_a_recipe_says_what_it_changes(
    data_dir: Path, seen: list[TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run_training.main(flags(data_dir, "--recipe=recommended", "--total-kimg=1000"))
    said = capsys.readouterr().err
    assert "--recipe=recommended changes G.mapping_layers (8, now 1), " in said
    assert "loss.decouple (2.0, now 2@350,16@800), loss.gamma (100.0, now 0.0625)" in said
    assert "G.center_bits (False, now True)" in said
    assert seen[0].channel == "clip"
    run_training.main(flags(data_dir))
    assert "--recipe" not in capsys.readouterr().err


def test_gpus_that_are_not_there(
    data_dir: Path,
    seen: list[TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Goes on on the CPU with the minibatch of as many GPUs, and says so once."""
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    run_training.main(flags(data_dir, "--num-gpus=2"))
    assert (seen[0].minibatch, seen[0].minibatch_gpu) == (16, 8)
    assert capsys.readouterr().err.count("warning: --num-gpus=2") == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--dataset=gone", "gone.*dataset_tool.py"),
        ("--config=config-x", "--config=config-x: unknown"),
        ("--config=config-c", "--config=config-c: .*grow progressively"),
        ("--metrics=fud1k", "unknown metric 'fud1k'"),
        ("--res-modulated-range=16-128", "--res-modulated-range=16-128 touches no layer of a 8x8"),
        ("--res-modulated-range=9", "--res-modulated-range=9: expected lo-hi"),
        ("--minibatch=12", "--minibatch=12 is not a multiple"),
        ("--seed=-1", "--seed=-1: expected a number from 0"),
        ("--seed=4294967296", "--seed=4294967296: expected a number from 0"),
        ("--num-gpus=-1", "--num-gpus=-1: expected a number of at least 0"),
        ("--mapping=quick", "--mapping=quick: choose one of"),
    ],
)
def test_mistake(
    data_dir: Path, seen: list[TrainConfig], tmp_path: Path, flag: str, message: str
) -> None:
    """One line, before any network is made, and nothing is left."""
    with pytest.raises(UserError, match=message) as error:
        run_training.main(flags(data_dir, flag, f"--result-dir={tmp_path / 'results'}"))
    assert "\n" not in str(error.value)
    assert seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "flag",
    [
        "--gamma=nan", "--gamma=-1", "--decoupleL2-weight=inf", "--latentsRecL2-weight=x",
        "--watermarkCls-weight=-0.5", "--total-kimg=0", "--minibatch=0", "--minibatch-gpu=-4",
        "--watermark-size=-1", "--snapshot-ticks=0", "--kimg-per-tick=0", "--seed=one",
        "--checkpoint-minutes=-1", "--keep-checkpoints=0", "--threads=0",
    ],
)  # fmt: skip
def test_bad_value(data_dir: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_training.main(flags(data_dir, flag))
    error = capsys.readouterr().err
    assert flag.partition("=")[0] in error
    assert len(error.splitlines()) == 1


def test_missing_metric_inputs_come_first(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric that cannot be computed is told before an hour of training, not after."""
    monkeypatch.setenv("GAN_FINGERPRINTS_INCEPTION", str(tmp_path / "gone.pb"))
    with pytest.raises(UserError, match="GAN_FINGERPRINTS_INCEPTION=.*gone.pb"):
        run_training.main(
            [
                "--dataset=noise", f"--data-dir={data_dir}", "--config=config-tiny",
                "--res-modulated-range=4-8", "--metrics=fid1k", "--num-gpus=0",
                f"--result-dir={tmp_path / 'results'}",
            ]
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c(data_dir: Path, tmp_path: Path) -> None:
    """In a process of its own: status 130 after the first tick, and a snapshot to go on from."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(
        [
            sys.executable, ROOT / "run_training.py", "--dataset=noise", f"--data-dir={data_dir}",
            "--config=config-tiny", "--res-modulated-range=4-8", "--ops=reference",
            f"--result-dir={tmp_path / 'results'}",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
        # Whatever started the tests may ignore the signal, which processes inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    rest, error = interrupt_at(process, "tick 0")
    assert error == "interrupted\n"
    (run_dir,) = (tmp_path / "results").iterdir()
    (snapshot,) = run_dir.glob("*.pkl")
    assert re.fullmatch(r"network-snapshot-\d{6}\.pkl", snapshot.name)
    assert f"wrote {snapshot}; the same command goes on with {run_dir}" in rest.splitlines()[-1]
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["000000"]
    position = load_networks(snapshot).position
    ticks = ticks_of((run_dir / "log.txt").read_text())
    assert float(ticks[-1][1]) == pytest.approx(position["kimg"], abs=0.051)
    assert not [path for path in run_dir.rglob("*") if path.suffix == ".tmp"]

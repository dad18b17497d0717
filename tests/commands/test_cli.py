"""Every command answers `--help` and argument errors at once, without TensorFlow, in one line."""

import importlib
import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import run_fingerprints
from fingerprints.detection.views import SEARCHES
from tests.support.paths import ROOT

# A call of each command, or of each of its subcommands, whose required arguments are all there.
COMMANDS = {
    "run_training.py": [["--dataset=d", "--data-dir=missing"]],
    "run_metrics.py": [
        ["--metrics=watermark_accuracy_1k", "--network=missing.pkl"],
        ["--suite=paper", "--network=missing.pkl"],
    ],
    "run_generator.py": [
        ["generate-images", "--network=missing.pkl", "--seeds=0-3"],
        ["style-mixing-example", "--network=missing.pkl"],
        ["export", "--network=missing.pkl", "--layout=npz", "--out=missing/out.npz"],
    ],
    "run_fingerprints.py": [
        ["keygen", "missing/signing.key"],
        ["plan", "--bits=8", "--licensees=2"],
        ["issue", "--network=missing.pkl", "--key=missing.key", "--licensee=acme"],
        ["verify-manifest", "--public-key=missing.pub", "missing.pkl.manifest.json"],
        ["list", "--registry=missing.db"],
        ["show", "--registry=missing.db", "acme"],
        ["revoke", "--registry=missing.db", "acme"],
        ["export", "--registry=missing.db"],
        ["audit", "--registry=missing.db"],
        ["decode", "--network=missing.pkl", "missing.png"],
        ["adopt", "--network=missing.pkl"],
        ["retune", "--network=missing.pkl", "--out=missing/new.pkl"],
        ["calibrate", "--network=missing.pkl", "missing.png"],
        ["verify", "--network=missing.pkl", "missing.png"],
        ["verify-report", "--public-key=missing.pub", "missing.html"],
        ["attribute", "--network=missing.pkl", "missing.png"],
        ["serve", "--network=missing.pkl"],
        ["serve-key", "--keys=missing/callers.jsonl", "--name=press"],
    ],
    "dataset_tool.py": [
        ["create_celeba", "out", "missing"],
        ["create_from_images", "out", "missing"],
        ["create_mnist", "out", "missing"],
        ["create_mnistrgb", "out", "missing"],
        ["create_cifar10", "out", "missing"],
        ["create_cifar100", "out", "missing"],
        ["create_svhn", "out", "missing"],
        ["create_lsun", "out", "missing"],
        ["create_lsun_wide", "out", "missing"],
        ["create_celebahq", "out", "missing"],
        ["create_from_hdf5", "out", "missing"],
        ["info", "missing"],
        ["verify", "missing"],
        ["convert", "missing", "out", "--layout=published"],
        ["stats", "missing"],
        ["display", "missing"],
        ["extract", "missing", "out"],
        ["compare", "missing", "missing"],
    ],
}
CALLS = [(script, call) for script, calls in COMMANDS.items() for call in calls]
CALL_IDS = [f"{script[:-3]}-{call[0].lstrip('-').split('=')[0]}" for script, call in CALLS]

# An entry of None makes `import tensorflow` fail, wherever it stands.
WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: str, without_tensorflow: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command of the repository in a process of its own."""
    prefix = ["-c", WITHOUT_TENSORFLOW] if without_tensorflow else []
    return subprocess.run(
        [sys.executable, *prefix, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip


def subcommand(call: list[str]) -> list[str]:
    return [] if call[0].startswith("-") else call[:1]


def assert_one_line_error(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "error: " in result.stderr


def test_table_lists_every_command() -> None:
    assert sorted(COMMANDS) == sorted(path.name for path in ROOT.glob("*.py"))


def test_blocker_blocks() -> None:
    script = WITHOUT_TENSORFLOW.replace("runpy.run_path", "import tensorflow; runpy.run_path")
    result = subprocess.run([sys.executable, "-c", script, "x"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "tensorflow" in result.stderr


def readme_commands() -> list[list[str]]:
    """Scripts and arguments of the commands that README.md shows."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("python3 ")]


def test_readme_shows_every_command() -> None:
    assert {command[0] for command in readme_commands()} == set(COMMANDS)


@pytest.mark.parametrize("command", readme_commands(), ids=lambda command: command[0][:-3])
def test_readme_command_parses(command: list[str]) -> None:
    module = importlib.import_module(command[0].removesuffix(".py"))
    module.build_parser().parse_args(command[1:])


@pytest.mark.parametrize("script", COMMANDS)
def test_help(script: str) -> None:
    result = run(script, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith(f"usage: {script}")


@pytest.mark.parametrize(("script", "call"), CALLS, ids=CALL_IDS)
def test_help_of_subcommand(script: str, call: list[str]) -> None:
    result = run(script, *subcommand(call), "--help")
    assert result.returncode == 0, result.stderr
    assert "--verbose" in result.stdout


@pytest.mark.parametrize("script", COMMANDS)
def test_help_is_quick(script: str) -> None:
    # Processor time, which other programs on the machine do not change. It is about a third of a
    # second; importing TensorFlow alone takes several.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(script, "--help", without_tensorflow=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.5


@pytest.mark.parametrize("script", COMMANDS)
def test_no_arguments(script: str) -> None:
    assert_one_line_error(run(script))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command refuses its arguments."""
    module = importlib.import_module(arguments[0].removesuffix(".py"))
    with pytest.raises(SystemExit) as end:
        module.main(arguments[1:])
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1, output.err
    return output.err


@pytest.mark.parametrize("flag", ["--no-such-flag=1", "--verb"], ids=["unknown", "abbreviated"])
@pytest.mark.parametrize(("script", "call"), CALLS, ids=CALL_IDS)
def test_flag_is_refused(
    script: str, call: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flag in refused([script, *call, flag], capsys)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["run_training.py", "--dataset=d", "--mirror-augment=perhaps"], "--mirror-augment"),
        (["run_training.py", "--dataset=d", "--watermark-size=many"], "--watermark-size"),
        (
            ["run_metrics.py", "--network=n", "--metrics=m", "--mirror-augment=2"],
            "--mirror-augment",
        ),
        (["run_generator.py", "generate-images", "--network=n", "--seeds=9-3"], "--seeds"),
        (["run_fingerprints.py", "decode", "--network=n", "i.png", "--minibatch=0"], "--minibatch"),
        (["dataset_tool.py", "create_from_images", "o", "i", "--shuffle=maybe"], "--shuffle"),
        (["dataset_tool.py", "create_images", "o", "i"], "create_images"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0][:-3],
)
def test_bad_value(arguments: list[str], flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert flag in refused(arguments, capsys)


@pytest.mark.parametrize("script", COMMANDS)
def test_tensorflow_is_made_quiet_first(script: str, tmp_path: Path) -> None:
    """A stand-in for TensorFlow ends the process and tells the log level that it would see."""
    (tmp_path / "tensorflow.py").write_text(
        "import os, sys\nsys.exit('level ' + os.environ.get('TF_CPP_MIN_LOG_LEVEL', 'unset'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)

    def end(*flags: str) -> str:
        result = subprocess.run(
            [sys.executable, ROOT / script, *COMMANDS[script][0], *flags],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
        assert result.returncode in (1, 2), result.stderr
        return result.stderr

    # A command may also find the mistake before it needs TensorFlow.
    quiet, verbose = end(), end("--verbose")
    assert quiet == "level 3\n" or quiet.startswith("error: "), quiet
    assert verbose == "level unset\n" or verbose.startswith("error: "), verbose


@pytest.mark.slow
def test_missing_input_is_one_line(tmp_path: Path) -> None:
    """With TensorFlow itself: its start-up messages do not show."""
    result = subprocess.run(
        [sys.executable, ROOT / "run_generator.py", *COMMANDS["run_generator.py"][0]],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert_one_line_error(result)
    assert "missing.pkl" in result.stderr
    assert not list(tmp_path.iterdir()), "a failed command left files"


@pytest.mark.parametrize("decision", ["soft", "bits"])
def test_plans_share_the_rate_among_the_edits_that_are_tried(
    decision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["plan", "--bits=64", "--licensees=9", f"--decision={decision}", "--json"]
    found = []
    for search in ("none", "light"):
        run_fingerprints.main([*call, f"--search={search}"])
        found.append(json.loads(capsys.readouterr().out))
    assert [values["num_views"] for values in found] == [1, len(SEARCHES["light"])]
    assert {values["decision"] for values in found} == {decision}
    plain, searched = (values["max_licensees"] for values in found)
    assert searched == plain // len(SEARCHES["light"])

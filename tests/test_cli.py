"""Every command answers `--help` and argument errors at once, without TensorFlow, in one line."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A call of each command, or of each of its subcommands, whose required arguments are all there.
COMMANDS = {
    "run_training.py": [["--dataset=d", "--data-dir=missing"]],
    "run_metrics.py": [["--metrics=watermark_accuracy_1k", "--network=missing.pkl"]],
    "run_generator.py": [["generate-images", "--network=missing.pkl", "--seeds=0-3"]],
    "run_fingerprints.py": [["decode", "--network=missing.pkl", "missing.png"]],
    "dataset_tool.py": [
        ["create_celeba", "out", "missing"],
        ["create_from_images", "out", "missing"],
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
    # It takes a third of a second; TensorFlow alone takes several. The best of three, since the
    # machine may be busy.
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        run(script, "--help", without_tensorflow=False)
        seconds.append(time.monotonic() - start)
        if seconds[-1] < 1:
            break
    assert min(seconds) < 2.5


@pytest.mark.parametrize("script", COMMANDS)
def test_no_arguments(script: str) -> None:
    assert_one_line_error(run(script))


@pytest.mark.parametrize(("script", "call"), CALLS, ids=CALL_IDS)
def test_unknown_flag(script: str, call: list[str]) -> None:
    result = run(script, *call, "--no-such-flag=1")
    assert_one_line_error(result)
    assert "--no-such-flag" in result.stderr


@pytest.mark.parametrize(("script", "call"), CALLS, ids=CALL_IDS)
def test_flags_cannot_be_abbreviated(script: str, call: list[str]) -> None:
    result = run(script, *call, "--verb")
    assert_one_line_error(result)
    assert "--verb" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["run_training.py", "--dataset=d", "--mirror-augment=perhaps"], "--mirror-augment"),
        (["run_training.py", "--dataset=d", "--watermark-size=many"], "--watermark-size"),
        (
            ["run_metrics.py", "--network=n.pkl", "--metrics=m", "--mirror-augment=2"],
            "--mirror-augment",
        ),
        (["run_generator.py", "generate-images", "--network=n", "--seeds=9-3"], "--seeds"),
        (["run_fingerprints.py", "decode", "--network=n", "i.png", "--minibatch=0"], "--minibatch"),
        (["dataset_tool.py", "create_from_images", "o", "i", "--shuffle=maybe"], "--shuffle"),
        (["dataset_tool.py", "create_images", "o", "i"], "create_images"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0][:-3],
)
def test_bad_value(arguments: list[str], flag: str) -> None:
    result = run(*arguments)
    assert_one_line_error(result)
    assert flag in result.stderr


@pytest.mark.parametrize(("script", "call"), CALLS, ids=CALL_IDS)
def test_tensorflow_is_made_quiet_first(script: str, call: list[str], tmp_path: Path) -> None:
    """A stand-in for TensorFlow ends the process and tells the log level that it would see."""
    (tmp_path / "tensorflow.py").write_text(
        "import os, sys\nsys.exit('level ' + os.environ.get('TF_CPP_MIN_LOG_LEVEL', 'unset'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)

    def end(*flags: str) -> str:
        result = subprocess.run(
            [sys.executable, ROOT / script, *call, *flags],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
        assert result.returncode in (1, 2), result.stderr
        return result.stderr

    quiet, verbose = end(), end("--verbose")
    assert quiet == "level 3\n" or quiet.startswith("error: "), quiet
    assert verbose == "level unset\n" or verbose.startswith("error: "), verbose


def test_missing_input_is_one_line(tmp_path: Path) -> None:
    """With TensorFlow itself: its start-up messages do not show."""
    result = subprocess.run(
        [sys.executable, ROOT / "run_generator.py", *COMMANDS["run_generator.py"][0]],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert_one_line_error(result)
    assert "missing.pkl" in result.stderr
    assert not list(tmp_path.iterdir()), "a failed command left files"

"""`gan-fingerprints`: every command under one name, with the help and the flags of the scripts."""

import subprocess
import sys

import pytest

import gan_fingerprints
from gan_fingerprints import main as console
from gan_fingerprints.commands import fingerprints
from tests.support.paths import ROOT

WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None
from gan_fingerprints.main import console
console()
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The program, where importing TensorFlow would fail."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", [*console.COMMANDS, *console.LICENSING])
def test_every_command_answers_help(name: str) -> None:
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: gan-fingerprints {name} ")
    assert "python3 run_" not in done.stdout


def test_the_list_of_commands_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands of run_fingerprints.py and what they say of themselves."""
    (actions,) = (
        action for action in fingerprints.build_parser()._actions if action.dest == "command"
    )
    theirs = {choice.dest: choice.help for choice in actions._get_subactions()}
    assert theirs == console.LICENSING
    console.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in (*console.COMMANDS, *console.LICENSING):
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    console.main(["--version"])
    assert capsys.readouterr().out == f"gan-fingerprints {gan_fingerprints.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "gan-fingerprints: error: a command is missing (see --help)\n"),
        (["trian"], "gan-fingerprints: error: unknown command 'trian' (see --help)\n"),
        (
            ["evaluate", "--metrics=none"],
            "gan-fingerprints evaluate: error: the following arguments are required: --network"
            " (see --help)\n",
        ),
        (
            ["plan", "--bits=8", "--licensees=0"],
            "gan-fingerprints plan: error: argument --licensees: '0' is not a positive integer"
            " (see --help)\n",
        ),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], problem: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", problem)


def test_a_module_and_a_script_do_the_same() -> None:
    plan = ["plan", "--bits=64", "--licensees=100", "--json"]
    found = [
        subprocess.run([sys.executable, *way, *plan], cwd=ROOT, capture_output=True, text=True)
        for way in (["-m", "gan_fingerprints"], ["run_fingerprints.py"])
    ]
    assert [done.returncode for done in found] == [0, 0]
    assert found[0].stdout == found[1].stdout != ""

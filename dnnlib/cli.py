"""What all commands share: parser, types of arguments, one-line errors, late imports."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from dnnlib.errors import Terminated, UserError


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations of flags, with `--verbose` and one-line errors (status 2).

    `{command}` in an epilog becomes what the user typed to get there.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if self.epilog:
            is_script = self.prog.partition(" ")[0].endswith(".py")
            command = f"python3 {self.prog}" if is_script else self.prog
            self.epilog = self.epilog.replace("{command}", command)

    def add_verbose(self) -> None:
        """Adds `--verbose`: TensorFlow's own start-up messages are shown."""
        self.add_argument(
            "--verbose", action="store_true", help="show TensorFlow's own messages as well"
        )

    def error(self, message: str) -> NoReturn:
        """Prints one line, not the usage, and exits with status 2."""
        print(f"{self.prog}: error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def boolean(text: str) -> bool:
    """Parses a BOOL: yes/true/t/y/1 and no/false/f/n/0, in any case."""
    lowered = text.strip().lower()
    if lowered in ("yes", "true", "t", "y", "1"):
        return True
    if lowered in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not a boolean: use True or False")


def add_boolean(parser: argparse.ArgumentParser, flag: str, *, default: bool, help: str) -> None:
    """Adds a flag that takes a BOOL; the flag alone means True."""
    parser.add_argument(
        flag,
        type=boolean,
        nargs="?",
        const=True,
        default=default,
        metavar="BOOL",
        help=f"{help} (default: {default})",
    )


def _number(kind: Callable[[str], Any], fits: Callable[[Any], bool], what: str) -> Any:
    """A type of arguments: numbers that fit; others are refused as being no `what`."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")  # which fits nowhere
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")
        return value

    return parse


_INFINITY = float("inf")
positive_int = _number(int, lambda value: value >= 1, "positive integer")
positive_float = _number(float, lambda value: 0 < value < _INFINITY, "positive number")
non_negative_float = _number(float, lambda value: 0 <= value < _INFINITY, "number of at least 0")
probability = _number(float, lambda value: 0 < value < 1, "probability between 0 and 1")


def number_list(text: str) -> list[int]:
    """Parses `0-63`, `1,2,5` or a mixture such as `1,4-6` into a list of integers >= 0."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r}: use a range (0-63) or a list (1,2,5)")
        end = int(last) if dash else int(first)
        if end < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: the range {part} runs backwards")
        numbers.extend(range(int(first), end + 1))
    return numbers


def deferred(target: str) -> Callable[..., Any]:
    """A function whose module is imported when it is called, not before.

    The one way to TensorFlow, and to whatever else is slow to load, from a module of flags. The
    layer test reads `target` as an import.

    Args:
        target: `package.module:function`.
    """
    return _Deferred(target)


@dataclass(frozen=True)
class _Deferred:
    """What `deferred` makes; another process can be given it."""

    target: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)(*args, **kwargs)


def run(main: Callable[[Sequence[str] | None], None]) -> NoReturn:
    """Runs a command's `main(argv)` and ends the process.

    Status 0 on success, 2 with one line on stderr after a UserError, 130 after Ctrl-C, 75 when
    SIGTERM came and everything is saved.
    """
    interrupted = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    # A shell's background job has it ignored, and that stays.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)
    try:
        main(None)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(Terminated.STATUS)
    except KeyboardInterrupt:
        _exit_interrupted()
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); that is not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        # TensorFlow, interrupted while it builds a graph, may raise an error of its own instead.
        if not interrupted:
            raise
        _exit_interrupted()
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
    sys.exit(0)


def _exit_interrupted() -> NoReturn:
    print("interrupted", file=sys.stderr)
    sys.exit(130)

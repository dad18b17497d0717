"""What all commands share: parser, types of arguments, one-line errors, late imports."""

import argparse
import contextlib
import importlib
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from dnnlib.atomic import access_error
from dnnlib.errors import Terminated, UserError
from dnnlib.format import printable
from dnnlib.streams import discard_output, safe_streams


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
        print(f"{self.prog}: error: {printable(message)} (see --help)", file=sys.stderr)
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
_LARGEST = 2**31 - 1  # a count beyond that is a slip of the finger
positive_int = _number(int, lambda value: 1 <= value <= _LARGEST, "positive integer")
non_negative_int = _number(int, lambda value: 0 <= value <= _LARGEST, "whole number of at least 0")
positive_float = _number(float, lambda value: 0 < value < _INFINITY, "positive number")
non_negative_float = _number(float, lambda value: 0 <= value < _INFINITY, "number of at least 0")
finite_float = _number(float, lambda value: abs(value) < _INFINITY, "finite number")
share = _number(float, lambda value: 0 < value <= 1, "number above 0, at most 1")
probability = _number(float, lambda value: 0 < value < 1, "probability between 0 and 1")


_DIGITS = re.compile("[0-9]{1,19}")
MAX_NUMBERS = 1_000_000  # in one list


def number_list(text: str) -> list[int]:
    """Parses `0-63`, `1,2,5` or a mixture such as `1,4-6` into a list of integers >= 0.

    Lists are limited to `MAX_NUMBERS`, which is checked before they are made.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _DIGITS.fullmatch(first) or (dash and not _DIGITS.fullmatch(last)):
            raise argparse.ArgumentTypeError(f"{text!r}: use a range (0-63) or a list (1,2,5)")
        end = int(last) if dash else int(first)
        if end < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: the range {part} runs backwards")
        if len(numbers) + end - int(first) >= MAX_NUMBERS:
            raise argparse.ArgumentTypeError(
                f"{text!r}: more than {MAX_NUMBERS} numbers; share them among several commands"
            )
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

    Status 0 on success, 2 with one line on stderr after a UserError, 130 after Ctrl-C, 143 after
    SIGTERM, 75 when SIGTERM came and everything is saved.
    """
    with safe_streams():
        status = _status_of(main)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
        except UserError as error:
            discard_output()
            status = status or _failed(error)
    sys.exit(status)


def _status_of(main: Callable[[Sequence[str] | None], None]) -> int:
    """Runs the command; the process's exit status."""
    stopped: list[int] = []  # signals that came

    def handle(signum: int, frame: FrameType | None) -> None:
        stopped.append(signum)
        raise KeyboardInterrupt

    with _handling(handle):
        try:
            main(None)
        except UserError as error:
            return _failed(error)
        except Terminated:
            return _stopped("terminated", Terminated.STATUS)
        except KeyboardInterrupt:
            return _stopped_by(stopped)
        except BrokenPipeError:
            # The reader of our output has gone (`| head`); that is not an error of ours.
            discard_output()
        except OSError as error:
            if stopped:
                return _stopped_by(stopped)
            if error.filename is None:
                raise
            return _failed(access_error(error.filename, error))
        except Exception:
            # TensorFlow, interrupted while it builds a graph, may raise an error of its own.
            if not stopped:
                raise
            return _stopped_by(stopped)
    return 0


@contextlib.contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `handle`, unless they are ignored, as in a shell's background job."""
    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.getsignal(number) for number in ours}
    taken = [number for number in ours if before[number] is ours[number]]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _failed(error: UserError) -> int:
    print(f"error: {printable(error)}", file=sys.stderr)
    return 2


def _stopped_by(signals: Sequence[int]) -> int:
    if signal.SIGTERM in signals:
        return _stopped("terminated", 128 + signal.SIGTERM)
    return _stopped("interrupted", 128 + signal.SIGINT)


def _stopped(word: str, status: int) -> int:
    print(word, file=sys.stderr)
    return status

"""Small files that a user names: read whole, if they are files, and of a size that makes sense."""

import codecs
import os
import stat
import sys
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.format import format_bytes

MAX_BYTES = 1 << 28  # of a list, table or manifest


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a regular file; no error of a path that cannot be one."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is a folder; no error of a path that cannot be one."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def check_regular(path: str | os.PathLike[str], what: str) -> int:
    """The size of a file. A named pipe or a device, which may give bytes for ever, is refused.

    Args:
        path: where it is.
        what: what it is, for the message.

    Raises:
        UserError: there is no such file, or it is something else than a file.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read {what} {os.fspath(path)}: {reason}; check the path"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise UserError(f"cannot read {what} {os.fspath(path)}: it is {kind}; name a file")
    return found.st_size


def read_bytes(path: str | os.PathLike[str], what: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: where it is.
        what: what it is, for the message: `the list`.
        max_bytes: more is refused before it is read.

    Raises:
        UserError: it cannot be read, is no regular file, or too large.
    """
    size = check_regular(path, what)
    try:
        # A pipe put in its place meanwhile must not be waited for either.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read {what} {os.fspath(path)}: {reason}; check it") from error
    _check_size(max(size, len(content)), max_bytes, what, path)
    return content


def read_text(path: str | os.PathLike[str], what: str, max_bytes: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without a byte-order mark, or in UTF-16.

    Raises:
        UserError: as `read_bytes`, or it is no such text.
    """
    content = read_bytes(path, what, max_bytes)
    try:
        return decode_text(content)
    except UnicodeError as error:
        raise UserError(
            f"cannot read {what} {os.fspath(path)}: it is no text in UTF-8 ({error.args[-1]} at "
            f"byte {getattr(error, 'start', 0)}); save it as UTF-8"
        ) from error


def decode_text(content: bytes, errors: str = "strict") -> str:
    """Text in UTF-8, or in UTF-16 if it has its byte-order mark, which is not part of the text.

    Raises:
        UnicodeError: it is neither.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors)
    return content.decode("utf-8-sig", errors)


def read_names(path: str, what: str) -> list[str]:
    """Names of files, one a line, from a text file or, for `-`, standard input.

    Names need not be UTF-8: they are kept as the system gives them.

    Raises:
        UserError: it cannot be read, is too large, or holds no name.
    """
    if path == "-":
        content = sys.stdin.buffer.read(MAX_BYTES + 1) if sys.stdin else b""
        _check_size(len(content), MAX_BYTES, what, "standard input")
    else:
        content = read_bytes(path, what)
    try:
        text = decode_text(content, "surrogateescape")
    except UnicodeError as error:
        raise UserError(f"cannot read {what} {path}: {error}; save it as UTF-8") from error
    names = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not names:
        raise UserError(f"{what} {path} names no file; write one name a line")
    return names


def _check_size(size: int, limit: int, what: str, path: str | os.PathLike[str]) -> None:
    if size > limit:
        raise UserError(
            f"{what} {Path(path)} is larger than {format_bytes(limit)}: it cannot be one; "
            "name another file"
        )

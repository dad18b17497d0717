"""TensorFlow's failed writes as the one line that users get for all others."""

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

from dnnlib.atomic import write_error
from dnnlib.errors import UserError

# What TensorFlow's texts say of the system's errors: it passes on no numbers.
_ERRORS = {
    "No space left on device": errno.ENOSPC,
    "File too large": errno.EFBIG,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
}


@contextlib.contextmanager
def convert_write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within this block, TensorFlow's errors become those of writing to `path`.

    Raises:
        UserError: what could not be written, why, and the cure.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for text, number in _ERRORS.items():
            if text in error.message:
                raise write_error(path, OSError(number, os.strerror(number))) from error
        reason = error.message.rpartition("; ")[2] or error.message
        raise UserError(
            f"cannot write {os.fspath(path)}: {reason}; check the disk and run the command again"
        ) from error

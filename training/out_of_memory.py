"""What to do when a training iteration does not fit into memory, in one line."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from dnnlib.errors import UserError
from training.config import TrainConfig

# What TensorFlow, XLA and the C++ library write when an allocation fails.
_SIGNS = ("out of memory", "oom when allocating", "bad_alloc", "cannot allocate memory")
# Also a ResourceExhaustedError, but of a disk.
_DISK = "no space left"


@contextlib.contextmanager
def suggesting(config: TrainConfig, num_replicas: int) -> Iterator[None]:
    """Within this block, a failed allocation becomes a UserError that says which flag to lower.

    It does not see the operating system killing a process that uses too much.

    Args:
        config: of the run that the block belongs to.
        num_replicas: devices that share the minibatch, over all workers.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(advice(config, num_replicas)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this exception tells of an allocation that failed, on a GPU or in main memory."""
    text = str(error).lower()
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return _DISK not in text
    return any(sign in text for sign in _SIGNS)


def advice(config: TrainConfig, num_replicas: int) -> str:
    """The error's text: which flags to give the next time.

    Args:
        config: of the run that ran out of memory.
        num_replicas: devices that share the minibatch, over all workers.
    """
    now = config.minibatch_gpu
    if (smaller := smaller_slice(config.minibatch // num_replicas, now)) is not None:
        return (
            f"out of memory with {now} images at a time; try again with "
            f"--minibatch={config.minibatch} --minibatch-gpu={smaller}, which computes the same "
            "minibatch in smaller slices"
        )
    smaller_config = "config-tiny" if config.config.startswith("config-e") else "config-e"
    if config.config.startswith("config-tiny"):
        cure = "use a data set of a lower resolution"
    else:
        cure = (
            f"use a data set of a lower resolution or a smaller model (--config={smaller_config})"
        )
    return (
        f"out of memory with --minibatch-gpu={now} already: this model does not fit; {cure}, free "
        "memory that other programs use, or use a machine with more"
    )


def smaller_slice(share: int, minibatch_gpu: int) -> int | None:
    """The largest valid --minibatch-gpu of at most half the present one; None below 1.

    Valid are divisors of a device's share that are at most 4 or a multiple of 4, the groups of the
    minibatch standard deviation.

    Args:
        share: images that one device computes per iteration.
        minibatch_gpu: images at a time now.
    """
    for size in range(minibatch_gpu // 2, 0, -1):
        if share % size == 0 and (size <= 4 or size % 4 == 0):
            return size
    return None

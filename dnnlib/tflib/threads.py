"""How many threads an operation may use, fixed, because sums in another order differ in bits."""

import os

import tensorflow as tf


def pin_threads(count: int | None = None) -> int:
    """Fixes the number of threads within an operation, before TensorFlow runs its first one.

    Args:
        count: threads; None: one for every core that this process may use.

    Returns:
        The number in force: an earlier one, where TensorFlow has begun to run.
    """
    if count is None:
        count = len(os.sched_getaffinity(0))
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError:
        # TensorFlow's own choice, where nobody has set one.
        return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    return count

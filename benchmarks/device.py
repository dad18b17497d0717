"""The machine as TensorFlow sees it: its peak, its GPUs."""

import statistics
import time

import tensorflow as tf

from benchmarks.floor import PEAK_SIZE


def gpu_names() -> list[str]:
    """Names of the GPUs."""
    details = [
        tf.config.experimental.get_device_details(gpu)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return [str(detail.get("device_name", "a GPU")) for detail in details]


def measure_peak(rounds: int = 9) -> float:
    """FLOP/s of a 2048^3 float32 matrix product, median of `rounds`."""
    a = tf.random.normal([PEAK_SIZE, PEAK_SIZE])
    b = tf.random.normal([PEAK_SIZE, PEAK_SIZE])
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        tf.matmul(a, b).numpy()
        times.append(time.perf_counter() - start)
    return 2 * PEAK_SIZE**3 / statistics.median(times[2:])

"""One iteration of plain StyleGAN2 with labels on one and on two CPU devices, for a test.

    python -m tests.support.plain_on_devices OUT

OUT.npz gets `one/NAME` and `two/NAME` for every variable of the generator and the average.
"""

import sys

import numpy as np
import tensorflow as tf

from dnnlib.tflib.devices import Devices, mirrored_devices
from dnnlib.tflib.execution import Execution
from tests.support.small_runs import SMALL
from tests.support.small_steps import RATES, STRENGTHS, WEIGHTS
from training.config import PRESETS, TrainOptions, setup_training_config
from training.setup import make_networks, make_steps

EXECUTION = Execution("reference", "reference", False, "fp32")
CLASSES = 3


def measure(devices: Devices) -> dict[str, np.ndarray]:
    """The variables of G and Gs after a step of G and one of D, four slices of two images."""
    options = TrainOptions(
        dataset="n", config="config-test", seed=5, watermark_size=0, cond=True, minibatch=8,
        minibatch_gpu=2,
    )  # fmt: skip
    config = setup_training_config(options, 8, 3, CLASSES)
    networks = make_networks(config, devices)
    rng = np.random.default_rng(0)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, 20)]
    steps = make_steps(config, networks, EXECUTION, devices, labels)
    step = tf.constant(2, tf.int64)
    reals = devices.distribute(tf.constant(rng.uniform(-1, 1, [8, 8, 8, 3]), tf.float32))
    shown = devices.distribute(tf.constant(labels[:8]))
    steps.generator_step(step, RATES, WEIGHTS, STRENGTHS)
    steps.path_length_step(step, RATES)
    steps.discriminator_step(step, reals, RATES, tf.constant(0.9), shown)
    steps.r1_step(step, reals, RATES, shown)
    return {
        f"{slot}/{name}": variable.numpy()
        for slot, network in networks.items()
        for name, variable in network.named_variables().items()
    }


def main() -> None:
    """Measures both."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    PRESETS["config-test"] = SMALL
    found = {}
    for kind, devices in (("one", Devices()), ("two", mirrored_devices(["CPU:0", "CPU:1"]))):
        found |= {f"{kind}/{name}": value for name, value in measure(devices).items()}
    np.savez(sys.argv[1], **found)  # type: ignore[arg-type]  # its own keywords are none of ours


if __name__ == "__main__":
    main()

"""Runs the training phases on several CPU devices, in a process of its own, for `test_devices`.

    python -m tests.support.on_devices OUT KIND:OPS ...

KIND is `one`, `two` (logical devices) or `workers` (as TF_CONFIG says). What a case computes goes
to OUT-KIND-OPS.npz; of several workers only the chief writes.
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.devices import Devices, make_devices, mirrored_devices
from dnnlib.tflib.execution import Execution
from metrics.feature_extractors import InceptionExtractor
from metrics.sampling import make_context
from tests.support.made_up_inception import graph_bytes
from tests.support.small_steps import PHASES, make_reals, make_steps
from training.models.functions import make_decoder, make_generator
from training.models.seeds import sample_by_seed
from training.models.snapshot import load_networks, save_snapshot
from training.steps import Steps

EXECUTIONS = {
    "reference": Execution("reference", "reference", False, "fp32"),
    "xla": Execution("xla", "xla", True, "fp32"),
    "compiled": Execution("compiled", "compiled", False, "fp32"),
}
STEP = 2  # the iteration whose random numbers are used
NUM_IMAGES = 5  # no multiple of two


def find_devices(kind: str) -> Devices:
    """`one`, `two` or `workers`; the last has to be asked for first."""
    if kind == "workers":
        return make_devices(0)
    return Devices() if kind == "one" else mirrored_devices(["CPU:0", "CPU:1"])


def build(devices: Devices, execution: Execution) -> Steps:
    """Four slices of two images."""
    # XLA takes long to compile, and no longer on one device than on two.
    steps = make_steps(
        minibatch=8, minibatch_gpu=2, jit=execution.jit, resolution=4, devices=devices
    )
    for network in (steps.generator, steps.discriminator, steps.decoder, steps.average):
        network.run_with(execution.impl)
    return steps


def measure(devices: Devices, execution: Execution) -> dict[str, Any]:
    """Gradients, statistics and what else has to be the same on any number of devices."""
    steps = build(devices, execution)
    start = [tf.identity(variable) for variable in steps.variables]
    begin, end = devices.rows(steps.options.minibatch)
    reals = devices.distribute(make_reals(steps)[begin:end])
    found: dict[str, Any] = {}
    for phase, run in PHASES.items():
        for variable, value in zip(steps.variables, start, strict=True):
            variable.assign(value)
        for name, value in run(steps, STEP, reals).items():
            found[f"stat/{phase}/{name}"] = value.numpy()
        found[f"pl_mean/{phase}"] = steps.pl_mean.numpy()
        # With beta1 = 0 the first moment is the gradient.
        for slot, adam in (("G", steps.g_adam), ("E", steps.e_adam), ("D", steps.d_adam)):
            for number, variable in enumerate(adam.first):
                found[f"grad/{phase}/{slot}/{number}"] = variable.numpy()
    traces = steps.num_traces()
    for iteration in range(3):
        for run in PHASES.values():
            run(steps, iteration, reals)
    found["new traces"] = steps.num_traces() - traces
    found["updates"] = steps.g_adam.updates.numpy()
    found["copies"] = [replicas_of(variable) for variable in steps.variables]
    found["copies that differ"] = sum(copies_differ(v, devices) for v in steps.variables)
    found["moved"] = sum(
        not np.array_equal(variable.numpy(), value)
        for variable, value in zip(steps.variables, start, strict=True)
    )
    for variable, value in zip(steps.variables, start, strict=True):
        variable.assign(value)
    context = make_context(
        generator=steps.generator,
        decoder=steps.decoder,
        minibatch=NUM_IMAGES,
        execution=execution,
        devices=devices,
    )
    batch = context.generate(NUM_IMAGES, 0)
    found |= {"uint8": batch.images_uint8, "float": batch.images_float, "bits": batch.bits}
    assert context.decode is not None
    # XLA fills batches up; the others have three rows on two devices.
    found["logits"] = context.decode(batch.images_float[:3])
    if not execution.jit and devices.num_workers == 1:
        found |= from_snapshot(steps, execution, devices)
    found["agree"] = [devices.agree(False), devices.agree(devices.is_chief)]
    found["text"] = devices.from_chief("fingerprint été" if devices.is_chief else "unheard")
    found["replicas"] = devices.num_replicas
    found["described"] = devices.describe()
    return found


def from_snapshot(steps: Steps, execution: Execution, devices: Devices) -> dict[str, np.ndarray]:
    """What the commands do that read a file: images by seed, and their logits."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/network.pkl"
        save_snapshot(path, Gs=steps.average, E=steps.decoder)
        with devices.strategy.scope():
            networks = load_networks(path)
        graph = Path(folder) / "inception.pb"
        graph.write_bytes(graph_bytes())
        extract = InceptionExtractor(graph, devices)
    generator, decoder = networks.generator, networks.decoder
    generate = make_generator(generator, None, execution, devices)
    (inputs,) = sample_by_seed(
        range(NUM_IMAGES),
        latent_size=generator.latent_size,
        fingerprint_size=generator.fingerprint_size,
        noise_shapes=generator.noise_shapes,
    )
    images = generate(inputs)
    decode = make_decoder(decoder, 3, execution, devices)
    return {
        "seeds/uint8": images,
        "seeds/logits": decode(images),
        "seeds/features": extract(images),
    }


def replicas_of(variable: Any) -> int:
    """Copies of a variable in this process."""
    return len(variable.values) if hasattr(variable, "values") else 1


def copies_differ(variable: Any, devices: Devices) -> bool:
    """Whether a variable is not the same, bit by bit, on all replicas of all workers."""
    copies = variable.values if hasattr(variable, "values") else [variable]
    local = [copy.numpy() for copy in copies]
    if any(not np.array_equal(value, local[0]) for value in local):
        return True
    digest = hashlib.sha256(local[0].tobytes()).hexdigest()
    return devices.agree(devices.from_chief(digest) != digest)


def main(out: str, *cases: str) -> None:
    """Runs the cases."""
    if not any(case.startswith("workers") for case in cases):
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    for case in cases:
        kind, ops = case.split(":")
        devices = find_devices(kind)
        found = measure(devices, EXECUTIONS[ops])
        if devices.is_chief:
            np.savez(f"{out}-{kind}-{ops}.npz", **found)
        devices.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The devices that a run uses, and how rows of a batch get there and results come back.

`tf.distribute` does the work: the default strategy on one device, MirroredStrategy on several GPUs
of one machine, MultiWorkerMirroredStrategy on several machines. A *replica* is one device with its
own copy of all variables; a *worker* is one process with the replicas of its machine. Replicas are
numbered over all workers, and replica r of R has the r-th of R equal parts of a batch.
"""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.hardware import device_label
from dnnlib.tflib.workers import VARIABLE, Task, find_task

_TEXT_BYTES = 4096  # longest text that `from_chief` passes on


class Devices:
    """All devices of a run, in this process and in others.

    Args:
        strategy: how they work together; None: the present one, one device by default.
        task: this process, if there are several.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy | None = None, task: Task | None = None
    ) -> None:
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        self.task = task
        self._sum = tf.function(self._sum_on_replicas, autograph=False)

    @property
    def num_replicas(self) -> int:
        """R, devices over all workers."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def num_workers(self) -> int:
        """Processes that run together, all with equally many devices."""
        return self.task.num_workers if self.task else 1

    @property
    def worker_index(self) -> int:
        """Number of this process."""
        return self.task.index if self.task else 0

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.worker_index == 0

    @property
    def num_local(self) -> int:
        """Devices of this process."""
        return self.num_replicas // self.num_workers

    def describe(self) -> str:
        """For the log: `CPU`, `4 GPUs` or `2 workers, each on 4 GPUs`."""
        count = self.num_local
        on_gpus = bool(tf.config.list_logical_devices("GPU"))
        local = device_label(count if on_gpus else 0)
        if count > 1 and not on_gpus:
            local = f"{count} CPUs"
        if self.num_workers == 1:
            return local
        return f"{self.num_workers} workers, each on {local}"

    def rows(self, minibatch: int) -> tuple[int, int]:
        """The rows start ... stop - 1 of every minibatch that this process has to provide.

        Raises:
            ValueError: the minibatch cannot be divided by the number of devices.
        """
        if minibatch % self.num_replicas:
            raise ValueError(f"{minibatch} images cannot be shared by {self.num_replicas} devices")
        share = minibatch // self.num_workers
        return self.worker_index * share, (self.worker_index + 1) * share

    def distribute(self, values: Any) -> Any:
        """Shares this process's rows out: [rows,...] -> argument of a function on all replicas.

        Args:
            values: array or tensor, the rows that `rows` names.
        """
        if self.num_local == 1:
            return tf.convert_to_tensor(values)
        share = len(values) // self.num_local
        first = self.worker_index * self.num_local

        def part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            begin = (context.replica_id_in_sync_group - first) * share
            return tf.convert_to_tensor(values[begin : begin + share])

        return self.strategy.experimental_distribute_values_from_function(part)

    def spread(
        self, function: Callable[..., Any], signature: Sequence[Any] | None = None
    ) -> Callable[..., Any]:
        """A function whose rows are computed by all replicas together.

        Every worker calls it with the same arguments, and every one gets all results, in order.
        Where N is no multiple of R, the last row is computed more than once, and left out again.

        Args:
            function: from tensors [N,...] to tensors [N,...], nested as one likes; each row of the
                result depends on the same row of the arguments alone.
            signature: of the arguments; None traces for every N anew.
        """
        if self.num_replicas == 1:
            return function

        def replica(inputs: Any) -> Any:
            context = tf.distribute.get_replica_context()
            index, count = context.replica_id_in_sync_group, self.num_replicas

            def part(values: tf.Tensor) -> tf.Tensor:
                total = tf.shape(values)[0]
                share = (total + count - 1) // count
                rows = tf.range(index * share, (index + 1) * share)
                return tf.gather(values, tf.minimum(rows, total - 1))

            return function(*tf.nest.map_structure(part, inputs))

        def run(*inputs: Any) -> Any:
            total = tf.shape(tf.nest.flatten(inputs)[0])[0]
            outputs = self.strategy.run(replica, args=(inputs,))
            return tf.nest.map_structure(lambda value: self._gather(value)[:total], outputs)

        return tf.function(run, input_signature=signature, autograph=False)

    def _gather(self, value: Any) -> tf.Tensor:
        """The rows of all replicas, in order."""
        local = self.strategy.experimental_local_results(value)
        if self.num_workers == 1:
            return tf.concat(local, axis=0)
        if local[0].dtype == tf.uint8:  # which collectives cannot send
            value = self.strategy.run(tf.cast, args=(value, tf.float32))
        return tf.cast(self.strategy.gather(value, axis=0), local[0].dtype)

    # Between workers, which have to call these in the same order.

    def agree(self, flag: bool) -> bool:
        """Whether any worker says so: clocks and signals are not the same everywhere."""
        if self.num_workers == 1:
            return flag
        return bool(self._sum(tf.constant(float(flag))) > 0.5)

    def wait(self) -> None:
        """Waits until all workers have come here, so that none ends while the chief writes."""
        self.agree(False)

    def from_chief(self, text: str) -> str:
        """The chief's text, on every worker.

        Raises:
            ValueError: it is longer than 4096 bytes.
        """
        if self.num_workers == 1:
            return text
        data = text.encode() if self.is_chief else b""
        if len(data) > _TEXT_BYTES:
            raise ValueError(f"a text of {len(data)} bytes, at most {_TEXT_BYTES} can be passed on")
        values = np.frombuffer(data.ljust(_TEXT_BYTES, b"\0"), np.uint8).astype(np.float32)
        found = self._sum(tf.constant(values)).numpy() / self.num_local
        return found.astype(np.uint8).tobytes().rstrip(b"\0").decode()

    def _sum_on_replicas(self, values: tf.Tensor) -> tf.Tensor:
        def replica(values: tf.Tensor) -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(values))

        found = self.strategy.run(replica, args=(values,))
        return self.strategy.experimental_local_results(found)[0]

    @contextlib.contextmanager
    def reporting_lost_workers(self) -> Iterator[None]:
        """Within this block, the loss of another worker is an error of one line.

        TensorFlow's workers hear from each other all the time, whatever they are computing, and
        notice within about ten seconds when one has ended or cannot be reached.

        Raises:
            UserError: another worker is gone.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.task is None or not _is_loss(error):
                raise
            raise UserError(
                f"lost {_lost_worker(str(error), self.task)}: it has ended or cannot be reached; "
                "look there for the reason, then start all workers again: the run goes on from "
                "its last checkpoint"
            ) from error


def _is_loss(error: tf.errors.OpError) -> bool:
    return isinstance(error, tf.errors.UnavailableError) or "Collective ops is aborted" in str(
        error
    )


def _lost_worker(text: str, task: Task) -> str:
    """Which of the other workers an error of TensorFlow names first."""
    for job, index in re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", text):
        name = f"{job}:{index}"
        if name in task.names and task.names.index(name) != task.index:
            number = task.names.index(name)
            return f"worker {number} of {task.num_workers} ({task.addresses[number]})"
    return f"one of {task.num_workers} workers"


def make_devices(num_gpus: int) -> Devices:
    """The devices of a run that may span machines: what TF_CONFIG says, else `local_devices`.

    On several workers it waits until all of them have started. It has to come before everything
    else that TensorFlow does in the process, except for settings (`tf.config`).

    Args:
        num_gpus: that this process uses, as `resolve_num_gpus` found; they are visible to
            TensorFlow, others are not. 0: the CPU.

    Raises:
        UserError: TF_CONFIG is malformed, the workers cannot be joined, or they have different
            numbers of GPUs.
        RuntimeError: TensorFlow has run something before, and there are several workers.
    """
    task = find_task()
    if task is None:
        return local_devices(num_gpus)
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        # No timeout: a worker may wait as long as another one is alive.
        implementation=kinds.AUTO if num_gpus else kinds.RING
    )
    print(f"waiting for {task.num_workers} workers", file=sys.stderr, flush=True)
    try:
        with _interruptible():
            strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"worker {task.index} of {task.num_workers} ({task.addresses[task.index]}) cannot join "
            f"the others ({reason}); check the addresses in {VARIABLE}, and that its port is free"
        ) from error
    check_equal_devices(task)
    return Devices(strategy, task)


def check_equal_devices(task: Task, kind: str = "GPU") -> None:
    """Refuses workers with different numbers of devices, with which sums would wait forever.

    Args:
        task: this process; the workers have been joined.
        kind: of the devices that are counted, "GPU" or "CPU".

    Raises:
        UserError: the numbers differ; every worker raises it.
    """
    # Once joined, every worker knows the devices of all.
    specs = [tf.DeviceSpec.from_string(d.name) for d in tf.config.list_logical_devices(kind)]
    counts = [sum(f"{spec.job}:{spec.task}" == name for spec in specs) for name in task.names]
    most, fewest = max(counts), min(counts)
    if most == fewest:
        return
    if fewest == 0:
        cure = "look at the latter why it sees none (nvidia-smi, CUDA_VISIBLE_DEVICES)"
    else:
        cure = f"start all of them with --num-gpus={fewest}"
    one, other = (
        f"worker {index} of {task.num_workers} ({task.addresses[index]}) has {counts[index]}"
        for index in (counts.index(most), counts.index(fewest))
    )
    raise UserError(f"workers need equally many {kind}s, but {one} and {other}; {cure}")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the process at once, since Python does not see it while TensorFlow waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def local_devices(num_gpus: int) -> Devices:
    """The first GPUs of this machine, or its CPU where `num_gpus` is 0; TF_CONFIG is ignored."""
    if num_gpus <= 1:
        return Devices(tf.distribute.get_strategy())
    gpus = [gpu.name for gpu in tf.config.list_logical_devices("GPU")[:num_gpus]]
    return mirrored_devices(gpus)


def mirrored_devices(names: Sequence[str]) -> Devices:
    """Several devices of this machine by name, such as `/device:CPU:1`."""
    # Named, because without names TensorFlow would look into TF_CONFIG.
    return Devices(tf.distribute.MirroredStrategy(list(names)))

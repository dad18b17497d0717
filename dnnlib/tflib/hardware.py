"""CPU, memory, and which of the GPUs asked for are used; without TensorFlow."""

import os
from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import UserError

_CPU_INFO = Path("/proc/cpuinfo")
# What tells CPUs apart, on x86 and on ARM.
_CPU_FIELDS = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU part", "CPU variant", "CPU revision", "Features",
)  # fmt: skip


def cpu_identity() -> str:
    """Kind and instruction sets of the CPU: compiled code may not run on one of another kind.

    Raises:
        OSError: where the system does not tell.
    """
    lines = _CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    return "\n".join(sorted({x for x in lines if x.partition(":")[0].strip() in _CPU_FIELDS}))


@dataclass(frozen=True)
class DevicePlan:
    """The devices that a command runs on."""

    requested: int  # GPUs that the user asked for, or all there are; the minibatch grows with it
    num_gpus: int  # GPUs that are used; 0: the CPU
    warning: str | None = None  # one line for the user

    @property
    def label(self) -> str:
        """For the log: `CPU` or `2 GPUs`."""
        return device_label(self.num_gpus)


def device_label(num_gpus: int) -> str:
    """For the log: `CPU` without GPUs, or `2 GPUs`."""
    if num_gpus == 0:
        return "CPU"
    return f"{num_gpus} GPU{'s' if num_gpus > 1 else ''}"


def plan_devices(requested: int | None, available: int) -> DevicePlan:
    """Decides what to run on.

    Args:
        requested: GPUs that the user asked for; None takes what is there, 0 counts as 1 share.
        available: GPUs that are there.

    Raises:
        UserError: more GPUs than there are, on a machine that has some; fewer than none.
    """
    if requested is None:
        return DevicePlan(max(available, 1), available)
    if requested < 0:
        raise UserError(f"--num-gpus={requested}: expected a number of at least 0")
    shares = max(requested, 1)
    if available == 0:
        if requested == 0:
            return DevicePlan(shares, 0)
        return DevicePlan(
            shares,
            0,
            f"--num-gpus={requested}: this machine has no GPU that TensorFlow can use; "
            "going on on the CPU",
        )
    if requested > available:
        raise UserError(
            f"--num-gpus={requested}: this machine has {available}; ask for at most {available}"
        )
    return DevicePlan(shares, requested)


def process_memory_gb() -> float:
    """Resident memory of this process in GB, now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        return 0.0

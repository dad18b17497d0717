"""How a command computes: `--ops` and `--precision`, settled once and passed on; no TensorFlow."""

from dataclasses import dataclass

from dnnlib.errors import UserError

OPS = ("auto", "cuda", "xla", "reference", "compiled")
PRECISIONS = ("fp32", "tf32", "bf16")

OPS_HELP = (
    "how operations run: cuda, our kernels on a GPU; xla, compiled by XLA; reference, plain "
    "TensorFlow; compiled, our kernels on any device; auto (default): cuda on a GPU, xla on a CPU"
)
PRECISION_HELP = (
    "of convolutions and matrix products: fp32 (default), tf32 or bf16, on GPUs that have them"
)


@dataclass(frozen=True)
class Execution:
    """What `--ops` and `--precision` come down to on this machine."""

    ops: str  # cuda, xla, reference or compiled
    impl: str  # of the operations, see `dnnlib.tflib.impl`
    jit: bool  # whether XLA compiles what runs often
    precision: str  # one of PRECISIONS

    @property
    def label(self) -> str:
        """For the log: `ops xla, precision fp32`."""
        return f"ops {self.ops}, precision {self.precision}"


PLAIN = Execution("reference", "reference", False, "fp32")  # works anywhere, needs no compiler


def plan_execution(ops: str, precision: str, *, has_gpu: bool, has_kernels: bool) -> Execution:
    """Decides how to run.

    Args:
        ops: one of OPS.
        precision: one of PRECISIONS.
        has_gpu: whether TensorFlow sees a GPU.
        has_kernels: whether our CUDA kernels can be had there; only looked at for `auto`.

    Raises:
        ValueError: an unknown name.
        UserError: CUDA operations on a machine without a GPU.
    """
    if ops not in OPS or precision not in PRECISIONS:
        raise ValueError(f"ops={ops!r}, precision={precision!r}")
    if ops == "auto":
        ops = "cuda" if has_gpu and has_kernels else "xla"
    if ops == "cuda" and not has_gpu:
        raise UserError(
            "--ops=cuda: this machine has no GPU that TensorFlow can use; leave the flag out"
        )
    if ops in ("cuda", "compiled"):
        return Execution(ops, "compiled", False, precision)
    if ops == "xla":
        # The forms for XLA on a CPU would replace what a GPU's own library does better.
        return Execution(ops, "reference" if has_gpu else "xla", True, precision)
    return Execution(ops, "reference", False, precision)

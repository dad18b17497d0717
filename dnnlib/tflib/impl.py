"""Which implementation of an operation runs.

`reference` is plain TensorFlow, which XLA can compile as well. `xla` is plain TensorFlow too, in
the forms that are fastest once XLA has compiled them for a CPU. `compiled` is an operation of ours
with kernels in C++ and CUDA, see `dnnlib.tflib.op_library`; XLA cannot look into it, so that code
under `jit_compile` has to ask for one of the two. `auto` is `compiled` on GPUs, where that is
faster and the library can be had, otherwise `reference`. Before its first use on a device the
library is compared with `reference`; one that differs is not used.
"""

from dnnlib.tflib import op_library

IMPLEMENTATIONS = ("auto", "reference", "xla", "compiled")


def check_impl(impl: str) -> None:
    """ValueError for a name that is none of `IMPLEMENTATIONS`."""
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl={impl!r}: expected one of {', '.join(IMPLEMENTATIONS)}")


def resolve_impl(impl: str) -> str:
    """Turns `auto` into the implementation that runs.

    Raises:
        ValueError: an unknown name.
        UserError: "compiled", and the library cannot be compiled or loaded, or computes wrongly.
    """
    check_impl(impl)
    if impl == "auto":
        return "compiled" if op_library.usable_for_auto() else "reference"
    if impl == "compiled":
        op_library.get_checked_library(cuda=op_library.sees_gpu())
    return impl

"""Which implementation of an operation runs.

There is one today, `reference`: plain TensorFlow, which XLA can compile as well. Every operation
takes `impl` already, so that callers need no change when compiled ones join.
"""

IMPLEMENTATIONS = ("auto", "reference")


def resolve_impl(impl: str) -> str:
    """Turns `auto` into the implementation that runs; an unknown name raises ValueError."""
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl={impl!r}: expected one of {', '.join(IMPLEMENTATIONS)}")
    return "reference"

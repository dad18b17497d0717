"""What a verdict is asked for: which edits are tried, and what bits weigh.

Mirroring, turning, brightening or cropping a picture takes its bits away from a decoder that was
not trained for that, but each can be undone by whoever knows that it was done. Nobody does; so all
are tried: a picture is read once per edit, each time with that edit undone, in K *views*. Its
logits are then [K,B]; the first row is the picture as it is. Every view is tested, and the smallest
p-value times K is the picture's: the union bound, which holds however much views depend on each
other.
"""

from typing import Literal, get_args

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.undoing import AS_IT_IS, FULL, LIGHT

Decision = Literal["soft", "bits"]  # bits count by how clearly they are read, or all alike
DECISIONS: tuple[Decision, ...] = get_args(Decision)

# What `--search` tries, in order; a name says what was done to the picture, not how it is undone.
# A longer search begins with the shorter one.
SEARCHES: dict[str, tuple[str, ...]] = {
    "none": (AS_IT_IS,),
    "light": tuple(LIGHT),
    "full": tuple(FULL),
}


def expand(images: np.ndarray, search: str) -> np.ndarray:
    """All views of pictures: uint8 [N,H,W,C], H = W -> uint8 [N,K,H,W,C]."""
    return np.stack([FULL[name](images) for name in SEARCHES[search]], axis=1)


def rows_of(wanted: tuple[str, ...], views: tuple[str, ...]) -> list[int]:
    """Which of `views` are the `wanted` ones, in their order.

    Args:
        wanted: names of views.
        views: names of those that there are.

    Raises:
        UserError: one is missing; a calibration that tried fewer edits than a verdict does.
    """
    missing = [name for name in wanted if name not in views]
    if missing:
        searches = [name for name, tried in SEARCHES.items() if set(wanted) <= set(tried)]
        raise UserError(
            f"the calibration was made without the edit {missing[0]!r}; calibrate again with "
            f"--search={searches[0] if searches else 'full'}"
        )
    return [views.index(name) for name in wanted]

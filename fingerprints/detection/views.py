"""What a verdict is asked for: which edits are tried, and what bits weigh.

A picture that may have been edited is read once per edit that is tried, each time with that edit
undone: in K views. Its logits are then [K,B]; the first row is the picture as it is.
"""

from typing import Literal, get_args

from dnnlib.errors import UserError

Decision = Literal["soft", "bits"]  # bits count by how clearly they are read, or all alike
DECISIONS: tuple[Decision, ...] = get_args(Decision)

AS_IT_IS = "as it is"

# What `--search` tries, in order; a name says what was done to the picture, not how it is undone.
SEARCHES: dict[str, tuple[str, ...]] = {
    "none": (AS_IT_IS,),
    "light": (AS_IT_IS, "mirrored"),
    "full": (AS_IT_IS, "mirrored"),
}


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

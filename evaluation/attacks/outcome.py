"""What became of an attack: what it cost, what is read afterwards, and whether the bar was passed.

Three kinds: a fingerprint is to be removed from pictures, forged onto others, or mixed with those
of colluders. The bar is the model's: it is passed where the attack fails.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation.subject.figures import share
from evaluation.subject.readings import SOFT, Reader, numbers_named
from metrics.image_difference import psnr_between

KEPT = 0.5  # share of the pictures that have to be named still
RUINED = 20.0  # dB: pictures that lost more are not what the attacker wanted
FORGED = 0.01  # share of forged pictures that may carry the victim's name


def removed(
    reader: Reader,
    name: str,
    *,
    needs: str,
    cost: str,
    before: np.ndarray,
    after: np.ndarray,
    owners: np.ndarray,
    keeps_content: bool = True,
) -> dict[str, Any]:
    """The row of an attack that removes.

    Args:
        reader: of the model.
        name: of the attack.
        needs: what the attacker has to have.
        cost: what he spends, but for the quality of the pictures.
        before, after: pictures, uint8 [N,H,W,C]; of equal latents and noise.
        owners: int [N], whose they are.
        keeps_content: the attacker wants the pictures of before; otherwise other good ones serve
            him as well, and decibels do not tell whether they are ruined.
    """
    reading = reader.read(after, owners, ways=(SOFT,))
    decibels = psnr_between(before, after)
    named, wrong = reading.named[SOFT], reading.wrong[SOFT]
    is_ruined = keeps_content and decibels < RUINED
    excuse = f", or below {RUINED:g} dB" if keeps_content else ", whatever they show now"
    return _row(
        ("remove", name, needs, cost),
        decibels,
        f"{KEPT:.0%} still named{excuse}; nobody else named",
        (named.value >= KEPT or is_ruined) and wrong == 0,
        asdict(reading.bit_accuracy),
        asdict(named),
        wrong,
    )


def forged(
    reader: Reader,
    name: str,
    *,
    needs: str,
    cost: str,
    before: np.ndarray,
    after: np.ndarray,
    victim: int,
) -> dict[str, Any]:
    """The row of an attack that makes pictures look like a victim's.

    Args: as of `removed`; `victim` is the number of a licensee.
    """
    reading = reader.read(after, np.full(len(after), victim), ways=(SOFT,))
    named = reading.named[SOFT]
    return _row(
        ("forge", name, needs, cost),
        psnr_between(before, after),
        f"at most {FORGED:.0%} named as the victim",
        named.value <= FORGED,
        asdict(reading.bit_accuracy),
        asdict(named),
        reading.wrong[SOFT],
    )


def colluded(
    reader: Reader,
    name: str,
    *,
    needs: str,
    cost: str,
    before: np.ndarray,
    after: np.ndarray,
    colluders: Sequence[int],
) -> dict[str, Any]:
    """The row of an attack by several licensees; `named` counts pictures that name one of them.

    Args: as of `removed`; bits are those of the colluder that fits each picture best.
    """
    logits = reader.logits(after)[:, 0]
    bits = reader.registered[list(colluders)]
    accuracy = ((logits[:, None] > 0) == (bits[None] != 0)).mean(axis=2).max(axis=1)
    found = numbers_named(reader.judge(after))
    named = share(np.isin(found, colluders))
    wrong = int(((found >= 0) & ~np.isin(found, colluders)).sum())
    spread = float(accuracy.mean())
    return _row(
        ("collude", name, needs, cost),
        psnr_between(before, after),
        f"{KEPT:.0%} name one of them; nobody innocent named",
        named.value >= KEPT and wrong == 0,
        {"value": spread, "low": float(accuracy.min()), "high": float(accuracy.max())},
        asdict(named),
        wrong,
    )


def _row(
    names: tuple[str, str, str, str],
    decibels: float,
    bar: str,
    passed: bool,
    accuracy: dict[str, float],
    named: dict[str, float],
    wrong: int,
) -> dict[str, Any]:
    kind, name, needs, cost = names
    return {
        "kind": kind,
        "name": name,
        "needs": needs,
        "cost": cost,
        "psnr": decibels,
        "bar": bar,
        "passed": bool(passed),
        "bit_accuracy": accuracy,
        "named": named,
        "wrong": wrong,
    }

"""The floor of a computation: its multiply-adds at the speed of a plain matrix product.

A network's work is counted on the published form of its convolutions and dense layers, whatever is
implemented: a transposed convolution at its input resolution, a strided one at its output. What
surrounds them (FIR filters, modulation, activations, noise, the optimiser) counts as nothing, so
that a fraction of the floor says how much of the time goes where it must.
"""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from training.config import ScheduleConfig

if TYPE_CHECKING:
    from training.networks.layers import Network

PEAK_SIZE = 2048


def network_flops(network: "Network") -> float:
    """FLOPs (two per multiply-add) of one image through a generator, discriminator or decoder."""
    shapes = {name: tuple(v.shape) for name, v in network.named_trainables().items()}
    return weight_flops(shapes)


def weight_flops(shapes: Mapping[str, tuple[int, ...]]) -> float:
    """FLOPs of one image through the layers whose weights have these published names and shapes.

    Convolutions [k,k,I,O] run once per pixel, dense layers [I,O] once per image.
    """
    total = 0.0
    for name, shape in shapes.items():
        if len(shape) == 4:
            total += 2 * math.prod(shape) * _pixels(name)
        elif len(shape) == 2:
            total += 2 * math.prod(shape)
    return total


def _pixels(name: str) -> int:
    """Positions at which the published form of a convolution is computed."""
    found = re.search(r"(\d+)x\1/(\w+)/weight$", name)
    if found is None:
        raise ValueError(f"{name}: not the weight of a convolution with a known resolution")
    size, layer = int(found[1]), found[2]
    halved = layer in ("Conv0_up", "Conv1_down", "Skip")  # Skip: up in G, down in D and E
    return (size // 2 if halved else size) ** 2


def phase_flops(g: float, d: float, e: float) -> dict[str, float]:
    """FLOPs per image of the four phases; a gradient counts as much as the pass it belongs to.

    Generator and decoder: two images from G forward and backward to the weights (6 G), D forward
    and backward to the image (2 D), E in full (3 E). Discriminator: one image from G, fakes and
    reals in full (6 D). Path length: twice differentiated, on half the minibatch (3 G).
    R1: twice (6 D).
    """
    return {
        "generator and decoder": 6 * g + 2 * d + 3 * e,
        "discriminator": g + 6 * d,
        "path length": 3 * g,
        "R1": 6 * d,
    }


def phase_intervals(schedule: ScheduleConfig) -> dict[str, int]:
    """Every how many iterations the phases run, those that do."""
    intervals = {
        "generator and decoder": 1,
        "discriminator": 1,
        "path length": schedule.g_reg_interval,
        "R1": schedule.d_reg_interval,
    }
    return {name: interval for name, interval in intervals.items() if interval}


def iteration_flops(phases: Mapping[str, float], intervals: Mapping[str, int]) -> float:
    """FLOPs per image of a mean iteration, in which a phase takes part every `interval` times.

    Args:
        phases: from `phase_flops`.
        intervals: iterations, of the phases that there are.
    """
    return sum(phases[name] / interval for name, interval in intervals.items())

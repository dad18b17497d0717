"""What a number of bits, licensees and a false-positive rate allow, before anything is trained."""

import dataclasses
import math
from fractions import Fraction

import scipy.special

from dnnlib.errors import UserError
from fingerprints.detection.tails import matches_needed
from fingerprints.detection.views import Decision

POWER = 0.99  # probability with which an image is found at the bit accuracy that a plan names


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is possible; None where nothing is. `plan` makes it."""

    num_bits: int  # B
    num_licensees: int  # N, everybody ever registered
    fpr: float  # P[a foreign image is called ours], per image
    power: float  # P[an image of ours is found] that bit_accuracy is about
    num_views: int  # K, edits that are tried on each image, the one as it is included
    decision: Decision  # what bits weigh
    matches_needed: int | None  # of the B bits
    attained_fpr: float | None  # the rate at matches_needed; at most fpr
    match_share: float | None  # matches_needed / B
    bit_accuracy: float | None  # needed per image, bit errors being independent
    max_licensees: int  # largest N at this fpr: all B bits must match then
    min_distance: int | None  # between fingerprints, bits; None if N words do not exist
    max_licensees_at_quarter: int  # that fit with a minimum distance of B/4

    @property
    def is_possible(self) -> bool:
        """Whether any number of matches is enough for `fpr`."""
        return self.matches_needed is not None

    def lines(self) -> list[str]:
        """The plan as lines for people."""
        views = f", {self.num_views} views of each" if self.num_views > 1 else ""
        lines = [
            f"{self.num_bits} bits, {self.num_licensees} licensees, fpr {self.fpr:g} per image"
            f"{views}"
        ]
        if self.is_possible:
            lines += [
                f"matches needed: {self.matches_needed} of {self.num_bits} "
                f"({self.match_share:.1%}), attained fpr {self.attained_fpr:.2g}",
                f"bit accuracy needed to find {self.power:g} of the images: "
                f"{self.bit_accuracy:.4f} (independent bit errors)",
            ]
            if self.decision == "soft":
                lines.append(
                    "that is for bits that are all equally clear, the worst case; where the wrong "
                    "ones are the less clear ones, fewer are enough"
                )
        else:
            lines.append(f"impossible: even {self.num_bits} of {self.num_bits} matches are too few")
        distance = "none fits" if self.min_distance is None else f"{self.min_distance} bits"
        quarter, room = max(1, self.num_bits // 4), _short(self.max_licensees_at_quarter)
        return [
            *lines,
            f"largest number of licensees at this fpr: {_short(self.max_licensees)}",
            f"smallest distance between fingerprints: {distance} "
            f"({quarter} bits for {room} at most)",
        ]


def plan(
    num_bits: int,
    num_licensees: int,
    fpr: float,
    power: float = POWER,
    *,
    num_views: int = 1,
    decision: Decision = "soft",
) -> Plan:
    """Says what is possible; all counts in exact arithmetic.

    An image of which every bit is right with probability a, independently, is found with
    P[Binomial(B, a) >= m] = I_a(m, B - m + 1), the regularised incomplete beta function; the bit
    accuracy is its inverse. With soft decisions the number needed depends on how clear the bits are
    (`evidence`); it is given for bits that are all equally clear.

    Args:
        num_bits: number of bits B of a fingerprint.
        num_licensees: number N of fingerprints that will ever be registered, revoked ones too.
        fpr: P[a foreign image is called ours], per image, in (0, 1).
        power: P[an image of ours is found], in (0, 1).
        num_views: K, edits that are tried on each image; each has 1 / K of the rate.
        decision: what bits weigh; the numbers are the same.

    Raises:
        ValueError: a number is out of range.
    """
    if not 0 < power < 1:
        raise ValueError(f"power {power} is not within (0, 1)")
    num_tests = num_licensees * num_views
    needed = matches_needed(num_bits, num_tests, fpr)  # checks the other numbers
    num_words = 2**num_bits
    attained = share = accuracy = None
    if needed is not None:
        attained = num_tests * ball_size(num_bits, num_bits - needed) / num_words
        share = needed / num_bits
        accuracy = float(scipy.special.betaincinv(needed, num_bits - needed + 1, power))
    return Plan(
        num_bits=num_bits,
        num_licensees=num_licensees,
        fpr=fpr,
        power=power,
        num_views=num_views,
        decision=decision,
        matches_needed=needed,
        attained_fpr=attained,
        match_share=share,
        bit_accuracy=accuracy,
        max_licensees=math.floor(Fraction(fpr) * num_words / num_views),
        min_distance=(
            None if num_licensees > num_words else default_min_distance(num_bits, num_licensees)
        ),
        max_licensees_at_quarter=num_words // 2 // ball_size(num_bits, max(0, num_bits // 4 - 1)),
    )


def ball_size(num_bits: int, radius: int) -> int:
    """Number of words of `num_bits` bits that differ from one word in at most `radius` bits."""
    return sum(math.comb(num_bits, k) for k in range(radius + 1))


def default_min_distance(num_bits: int, num_licensees: int) -> int:
    """The smallest distance, in bits, that the fingerprints of `num_licensees` shall keep.

    The largest d <= B/4 for which N balls of radius d - 1 cover at most half of all words: then
    even the last licensee's uniform candidate is accepted with probability >= 1/2 (the argument of
    Gilbert, Bell System Technical Journal 31, 1952). At least 1, so that no two are equal.

    Args:
        num_bits: number of bits B of a fingerprint.
        num_licensees: number N of fingerprints that will ever be registered.

    Raises:
        UserError: there are fewer words than licensees.
    """
    if num_licensees > 2**num_bits:
        raise UserError(
            f"{num_licensees} licensees do not fit {num_bits} bits, which have {2**num_bits} "
            "values; train with a larger --watermark-size"
        )
    distance, covered = 1, 1  # `covered`: words in a ball of radius distance - 1
    while distance < num_bits // 4:
        covered += math.comb(num_bits, distance)
        if num_licensees * covered > 2 ** (num_bits - 1):
            break
        distance += 1
    return distance


def _short(number: int) -> str:
    """123456 in full, larger ones as 3.4e+32; float() would not take every integer."""
    if number < 10**6:
        return str(number)
    digits = str(number)
    return f"{digits[0]}.{digits[1]}e+{len(digits) - 1}"

"""How foreign images read with one decoder, and the p-values that follow for the registry at hand.

Fingerprints are drawn uniformly, so the binomial p-value is exact on average over the draw, however
biased the decoder is. For the registry at hand it can be far too small: where the decoder reads
nearly the same bits from every foreign image, they all lean to whoever has a fingerprint near those
bits. Foreign images of the user's own show it. Sampling them gives no rate below one in their
number, so what is beyond is extrapolated and says so.
"""

import dataclasses
import functools
import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.special
import scipy.stats

from dnnlib.errors import UserError
from fingerprints.bits import decide_bits, unpack_bits
from fingerprints.detection.tails import binomial_tail

MIN_INDEPENDENT = 20  # independent foreign images, or pools, below which no moments are estimated
MIN_INDEPENDENT_CONFIDENCE = 100  # ... below which no tail is fitted to the confidence
MIN_EXCESSES = 10  # different values above the tail's threshold that a fit needs

# The grid on which the fingerprints' moments are rounded up: 1/16 of a match and 1 % of variance.
_MEAN_STEPS = 16
_VARIANCE_STEP = np.log(1.01)
_BLOCK = 16384  # fingerprints at a time
_EDGE = 1e-12  # keeps probabilities off 0 and 1, where the ratios below divide by 0


class Candidate(Protocol):
    """What is needed of `search.Candidate`: one registered fingerprint, compared with an image."""

    @property
    def row(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def matches(self) -> int: ...


class Index(Protocol):
    """What is needed of `search.PackedIndex`: every fingerprint ever registered."""

    @property
    def num_bits(self) -> int: ...
    @property
    def words(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def search(self, logits: np.ndarray, k: int = 2) -> Sequence[Candidate]: ...
    def max_matches(self, bits: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What a decoder answers to foreign images. Made by `from_logits` or `from_bytes`."""

    decoder_hash: str  # of the decoder that answered
    logits: np.ndarray  # float16 [n,B], finite
    source: np.ndarray  # int32 [n]: crops or frames of one picture share a number

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or 0 in self.logits.shape:
            raise ValueError(f"expected logits [n,B], got an array of shape {self.logits.shape}")
        if self.source.shape != self.logits.shape[:1]:
            raise ValueError(
                f"{len(self.logits)} foreign images with sources of shape {self.source.shape}"
            )
        if not np.isfinite(self.logits).all():
            raise ValueError("logits of foreign images are not finite")

    @classmethod
    def from_logits(
        cls, decoder_hash: str, logits: np.ndarray, source: np.ndarray | None = None
    ) -> "Calibration":
        """Keeps the decoder's answers to foreign images.

        Args:
            decoder_hash: the decoder's hash.
            logits: [n,B] of the decoder, finite.
            source: integers [n], equal for what comes from one picture (crops, frames); None: all
                differ.

        Raises:
            ValueError: a shape does not fit or a logit is not finite.
        """
        logits = np.asarray(logits)
        if not np.isfinite(logits).all():
            raise ValueError("logits of foreign images are not finite")
        source = np.arange(len(logits)) if source is None else np.asarray(source)
        # float16 ends at 65504, far beyond where a sigmoid is 1.
        return cls(
            decoder_hash, np.clip(logits, -6e4, 6e4).astype(np.float16), source.astype(np.int32)
        )

    @property
    def num_bits(self) -> int:
        """Number of bits B."""
        return self.logits.shape[1]

    @property
    def num_images(self) -> int:
        """Number of foreign images n, those of one source counted one by one."""
        return len(self.logits)

    @functools.cached_property
    def num_independent(self) -> int:
        """Number of sources: what counts as independent images."""
        return len(np.unique(self.source))

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """float64 [n], sum 1: every source weighs the same, its images share its weight."""
        _, of_image, sizes = np.unique(self.source, return_inverse=True, return_counts=True)
        return 1.0 / (sizes[of_image] * len(sizes))

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """float64 [B]: mean logit per bit over foreign images."""
        return self.weights @ self.logits.astype(np.float64)

    @functools.cached_property
    def sd(self) -> np.ndarray:
        """float64 [B]: standard deviation per bit; 1 for a bit that never varies."""
        variance = self.weights @ (self.logits.astype(np.float64) - self.mean) ** 2
        return np.sqrt(np.where(variance > 0, variance, 1.0))

    def standardise(self, logits: np.ndarray) -> np.ndarray:
        """Logits [...,B] -> float64 [...,B] with mean 0 and deviation 1 over foreign images."""
        return (np.asarray(logits, dtype=np.float64) - self.mean) / self.sd

    def pools(self, size: int, seed: int = 0) -> np.ndarray:
        """Foreign images pooled as `verdict.pool_logits` does.

        Groups share no image, and no group has two images of one source. They are mixed at random:
        that many images of one foreign maker can be more alike, which no calibration shows.

        Args:
            size: images per group; with 1 the logits stay as they are.
            seed: of the order in which sources are grouped.

        Returns:
            float64 [G,B], G = number of sources // size.

        Raises:
            UserError: that leaves fewer than 20 groups.
        """
        num_pools = self.num_independent // size
        if num_pools < MIN_INDEPENDENT:
            largest = self.num_independent // MIN_INDEPENDENT
            raise UserError(
                f"calibration: {self.num_independent} independent foreign images are too few"
                + (f" for pools of {size}" if size > 1 else "")
                + f"; calibrate with at least {MIN_INDEPENDENT * size}"
                + (f", or pool at most {largest}" if size > 1 and largest > 1 else "")
            )
        rnd = np.random.default_rng(seed)
        order = rnd.permutation(self.num_images)
        _, first = np.unique(self.source[order], return_index=True)  # one image of every source
        chosen = order[rnd.permutation(first)[: num_pools * size]]
        logits = self.logits[chosen].astype(np.float64)
        if size == 1:
            return logits
        return self.standardise(logits).reshape(num_pools, size, -1).sum(axis=1)

    def null_for(self, index: Index, pool: int = 1) -> "ForeignNull":
        """How often foreign images match some fingerprint of a registry by chance.

        The table's p-value for m matches is the larger of
        - the sum over all fingerprints of the tail at m of a beta-binomial distribution (Skellam,
          J. R. Stat. Soc. B 10, 1948) with the mean and the variance of that fingerprint's matches
          over foreign images, never narrower than the binomial with that mean;
        - the share of sources of which some image matches some fingerprint in m bits or more.

        The errors of moments from few images add up to larger p-values, not smaller ones.

        Args:
            index: every fingerprint ever registered.
            pool: number of images that are decided together.

        Raises:
            UserError: there are too few independent images.
            ValueError: the index is empty or has another number of bits.
        """
        if index.num_bits != self.num_bits or len(index) == 0:
            raise ValueError(
                f"calibrated for {self.num_bits} bits, but the index holds {len(index)} "
                f"fingerprints of {index.num_bits} bits"
            )
        pools = self.pools(pool)  # refuses too few images
        if pool == 1:  # crops and frames add something to the moments
            rows, weights, source = self.logits, self.weights, self.source
        else:
            rows, source = pools, np.arange(len(pools))
            weights = np.full(len(pools), 1 / len(pools))

        bits = decide_bits(rows)
        sums = _sum_of_tails(index, bits, weights, num_independent=len(pools))
        best = _max_per_source(index.max_matches(bits), source)
        reached = np.bincount(best, minlength=self.num_bits + 1)[::-1].cumsum()[::-1]
        sure = np.abs(rows.astype(np.float64)).mean(axis=1)
        return ForeignNull(
            num_bits=self.num_bits,
            num_keys=len(index),
            pool=pool,
            num_independent=len(pools),
            match_pvalues=np.minimum(1.0, np.maximum(sums, reached / len(pools))),
            confidence_tail=ConfidenceTail.fit(_max_per_source(sure, source)),
        )

    def favoured(self, bits: np.ndarray) -> np.ndarray:
        """Which candidates for a fingerprint foreign images lean to, so that they are redrawn.

        Favoured is a candidate whose mean number of matches with foreign images exceeds B/2 by more
        than two standard deviations of what uniform candidates have, or with which some foreign
        image agrees in so many bits that one of n fair images would with probability at most 1 %.
        The first refuses about one uniform candidate in forty, the second one in a hundred at most,
        whatever the decoder; so those that pass are all but uniform: no word becomes more frequent
        than by the share that was refused.

        Args:
            bits: candidates, uint8 [C,B].

        Returns:
            bool [C].

        Raises:
            ValueError: the number of bits differs.
        """
        bits = np.asarray(bits)
        if bits.ndim != 2 or bits.shape[1] != self.num_bits:
            raise ValueError(f"expected candidates [C,{self.num_bits}], got {bits.shape}")
        images = self._image_signs
        lean = self.weights @ images  # mean of the +-1 bits
        # Images of one source are several chances too, so this counts images, not sources.
        chance = self.num_images * binomial_tail(np.arange(self.num_bits + 1), self.num_bits)
        improbable = np.argmax(chance <= 0.01) if chance[-1] <= 0.01 else self.num_bits + 1

        found = np.empty(len(bits), dtype=bool)
        block = max(1, 2**22 // self.num_images)
        for start in range(0, len(bits), block):
            part = _signs(bits[start : start + block])
            closest = (part.astype(np.float32) @ images.T).max(axis=1)  # exact whole numbers
            found[start : start + block] = (part @ lean / 2 > np.sqrt(np.sum(lean**2))) | (
                (self.num_bits + closest) / 2 >= improbable
            )
        return found

    @functools.cached_property
    def _image_signs(self) -> np.ndarray:
        """Decoded bits as float32 -1 and 1 [n,B]; `favoured` is called once per few candidates."""
        return _signs(decide_bits(self.logits)).astype(np.float32)

    def to_bytes(self) -> bytes:
        """The calibration as one blob, for `from_bytes`."""
        file = io.BytesIO()
        np.savez_compressed(
            file, decoder_hash=np.array(self.decoder_hash), logits=self.logits, source=self.source
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """Reads what `to_bytes` wrote.

        Raises:
            UserError: the blob is damaged or something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                decoder_hash, logits, source = (
                    arrays[name] for name in ("decoder_hash", "logits", "source")
                )
            kinds = (decoder_hash.dtype.kind, logits.dtype, source.dtype)
            if kinds != ("U", np.float16, np.int32) or decoder_hash.ndim:
                raise ValueError("arrays of other types")
            return cls(str(decoder_hash), logits, source)
        # What NumPy and its zip reader raise for bytes that are no such archive; an array without
        # a name, which np.load returns as such, has no context manager.
        except (
            *(ValueError, KeyError, TypeError, AttributeError, OSError, EOFError),
            *(zipfile.BadZipFile, zlib.error, NotImplementedError),
        ) as error:
            raise UserError(
                f"the stored calibration cannot be read ({error}); calibrate once more"
            ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class ConfidenceTail:
    """How sure the decoder is of foreign images: the distribution of mean |logit|.

    Up to a threshold, the 90 % quantile, the share of foreign images. Beyond it that share times a
    generalised Pareto tail, the limit for excesses over a high threshold (Balkema and de Haan, Ann.
    Probab. 2, 1974; Pickands, Ann. Stat. 3, 1975), and never below the share of images. Its shape
    is not let below 0, where the tail would end: a p-value of 0 is no finding. Its scale is the
    upper 95 % limit of what a fit to so few excesses gives (exact for the exponential tail, shape
    0), because far out the fit's own error is the largest.
    """

    values: np.ndarray  # float64 [n], ascending
    threshold: float
    shape: float
    scale: float

    @classmethod
    def fit(cls, values: np.ndarray) -> "ConfidenceTail | None":
        """Fits the tail to the values [n] of independent images; None if they are too few."""
        values = np.sort(np.asarray(values, dtype=np.float64))
        if len(values) < MIN_INDEPENDENT_CONFIDENCE:
            return None
        threshold = float(np.quantile(values, 0.9))
        excess = values[values > threshold] - threshold
        if len(np.unique(excess)) < MIN_EXCESSES:
            return None
        unit = float(excess.mean())
        shape, _, scale = scipy.stats.genpareto.fit(excess / unit, floc=0)
        if not shape > 0:
            shape, scale = 0.0, 1.0  # the exponential tail: its scale is the mean
        scale *= 2 * len(excess) / float(scipy.stats.chi2.ppf(0.05, 2 * len(excess)))
        return cls(values, threshold, float(shape), float(scale * unit))

    def pvalue(self, value: float) -> float:
        """P[the mean |logit| of a foreign image is at least `value`]."""
        num_reaching = len(self.values) - np.searchsorted(self.values, value, side="left")
        share = num_reaching / len(self.values)
        if value <= self.threshold:
            return float(share)
        beyond = np.mean(self.values > self.threshold)
        tail = scipy.stats.genpareto.sf(value - self.threshold, self.shape, scale=self.scale)
        return float(max(share, beyond * tail))


@dataclasses.dataclass(frozen=True, eq=False)
class ForeignNull:
    """The calibrated null distribution for one registry and one pool size."""

    num_bits: int  # B
    num_keys: int  # N, fingerprints ever registered
    pool: int  # images decided together
    num_independent: int  # foreign images, or pools of them, that this rests on
    match_pvalues: np.ndarray  # float64 [B+1]: P[the best match of a foreign image is >= m]
    confidence_tail: ConfidenceTail | None  # None: too few foreign images

    def match_pvalue(self, num_match: int) -> float:
        """P[some fingerprint agrees with a foreign image in >= num_match bits]."""
        return float(self.match_pvalues[num_match])

    def is_extrapolated(self, pvalue: float) -> bool:
        """Whether a calibrated p-value is smaller than the foreign images alone can show."""
        return pvalue < 1 / self.num_independent


def beta_binomial_tails(num_bits: int, rate: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P[X >= m] for every m, X beta-binomial (Skellam 1948) in its intra-class correlation.

    alpha = rate * (1 - r) / r and beta = (1 - rate) * (1 - r) / r, so that the mean is B * rate and
    the variance B * rate * (1 - rate) * (1 + (B - 1) * r); r = 0 is the binomial.

    Args:
        num_bits: number of bits B.
        rate: [C], probability of one agreement, in [0, 1].
        correlation: [C], r between two agreements, in [0, 1].

    Returns:
        float64 [C,B+1] for m = 0..B.
    """
    rate = np.clip(rate, _EDGE, 1 - _EDGE)[:, None]
    r = np.clip(correlation, 0, 1 - _EDGE)[:, None]
    k = np.arange(num_bits)
    # pmf(k + 1) / pmf(k), the fraction (k + alpha) / (B - 1 - k + beta) enlarged by r.
    steps = (
        np.log((num_bits - k) / (k + 1))
        + np.log(k * r + rate * (1 - r))
        - np.log((num_bits - 1 - k) * r + (1 - rate) * (1 - r))
    )
    log_pmf = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    pmf = np.exp(log_pmf - scipy.special.logsumexp(log_pmf, axis=1, keepdims=True))
    return np.minimum(1.0, pmf[:, ::-1].cumsum(axis=1)[:, ::-1])


def match_moments(
    words: np.ndarray, bits: np.ndarray, weights: np.ndarray, num_independent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, over foreign images, of every fingerprint's number of matches.

    With fingerprints and decoded bits as c and y in {-1, 1}^B, a match count is (B + c.y) / 2: its
    mean is (B + c.mean(y)) / 2, its variance c' cov(y) c / 4. So N fingerprints need one B x B
    matrix and no N x n one.

    Args:
        words: fingerprints packed by `bits.pack_bits`, uint64 [N,ceil(B/64)].
        bits: decoded bits of foreign images, uint8 [n,B].
        weights: [n], sum 1.
        num_independent: number that the variance's n / (n - 1) takes.

    Returns:
        float64 [N] and float64 [N], in matches and matches squared.
    """
    y = _signs(bits)
    mean = weights @ y  # [B]
    covariance = (y * weights[:, None]).T @ y - np.outer(mean, mean)  # [B,B]
    covariance *= num_independent / (num_independent - 1)
    means, variances = np.empty(len(words)), np.empty(len(words))
    for start in range(0, len(words), _BLOCK):
        part = slice(start, start + _BLOCK)
        codes = _signs(unpack_bits(words[part], bits.shape[1]))
        means[part] = (bits.shape[1] + codes @ mean) / 2
        variances[part] = np.einsum("ij,ij->i", codes @ covariance, codes) / 4
    return means, variances


def _sum_of_tails(
    index: Index, bits: np.ndarray, weights: np.ndarray, num_independent: int
) -> np.ndarray:
    """Sum over all fingerprints of P[matches with a foreign image >= m], float64 [B+1]."""
    num_bits = index.num_bits
    means, variances = match_moments(index.words, bits, weights, num_independent)
    rate = np.clip(means / num_bits, _EDGE, 1 - _EDGE)
    # Variance over the binomial's, from 1 (no narrower than it) to B (all bits agree or none).
    spread = np.clip(variances / (num_bits * rate * (1 - rate)), 1, num_bits)

    # A million fingerprints have few different moments once these are rounded up, which makes
    # tails heavier: with the mean always, with the variance wherever p-values are small.
    mean_cells = np.ceil(means * _MEAN_STEPS - 1e-9).astype(np.int64)
    spread_cells = np.ceil(np.log(spread) / _VARIANCE_STEP - 1e-9).astype(np.int64)
    num_spreads = spread_cells.max() + 1
    cells, counts = np.unique(mean_cells * num_spreads + spread_cells, return_counts=True)

    sums = np.zeros(num_bits + 1)
    for start in range(0, len(cells), _BLOCK):
        mean_cell, spread_cell = np.divmod(cells[start : start + _BLOCK], num_spreads)
        excess = np.exp(spread_cell * _VARIANCE_STEP) - 1
        tails = beta_binomial_tails(
            num_bits, mean_cell / (_MEAN_STEPS * num_bits), excess / max(1, num_bits - 1)
        )
        sums += counts[start : start + _BLOCK] @ tails
    return sums


def _max_per_source(values: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The largest of the values [n] of every source: what its images cannot do independently."""
    _, of_image = np.unique(source, return_inverse=True)
    largest = np.full(of_image.max() + 1, values.min(), dtype=values.dtype)
    np.maximum.at(largest, of_image, values)
    return largest


def _signs(bits: np.ndarray) -> np.ndarray:
    """Bits of 0 and 1 as float64 -1 and 1."""
    return 2.0 * bits - 1.0

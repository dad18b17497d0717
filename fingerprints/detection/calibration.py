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

import numpy as np

from dnnlib.errors import UserError
from fingerprints.bits import decide_bits
from fingerprints.detection.nulls import (
    ForeignNull,
    Index,
    max_per_source,
    signs,
    sum_of_tails,
)
from fingerprints.detection.tails import binomial_tail

MIN_INDEPENDENT = 20  # independent foreign images, or pools, below which no moments are estimated


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
        sums = sum_of_tails(index, bits, weights, num_independent=len(pools))
        best = max_per_source(index.max_matches(bits), source)
        reached = np.bincount(best, minlength=self.num_bits + 1)[::-1].cumsum()[::-1]
        sure = np.abs(rows.astype(np.float64)).mean(axis=1)
        return ForeignNull(
            num_bits=self.num_bits,
            num_keys=len(index),
            pool=pool,
            num_independent=len(pools),
            match_pvalues=np.minimum(1.0, np.maximum(sums, reached / len(pools))),
            confidences=np.sort(max_per_source(sure, source)),
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
            part = signs(bits[start : start + block])
            closest = (part.astype(np.float32) @ images.T).max(axis=1)  # exact whole numbers
            found[start : start + block] = (part @ lean / 2 > np.sqrt(np.sum(lean**2))) | (
                (self.num_bits + closest) / 2 >= improbable
            )
        return found

    @functools.cached_property
    def _image_signs(self) -> np.ndarray:
        """Decoded bits as float32 -1 and 1 [n,B]; `favoured` is called once per few candidates."""
        return signs(decide_bits(self.logits)).astype(np.float32)

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

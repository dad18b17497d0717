"""How foreign images read with one decoder, and the p-values that follow for the registry at hand.

Fingerprints are drawn uniformly, so the exact p-value holds on average over the draw, however
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
import scipy.special

from dnnlib.errors import UserError
from fingerprints.detection.evidence import chance, weigh
from fingerprints.detection.nulls import (
    ForeignNull,
    Index,
    max_per_source,
    normal_scores,
    score_moments,
    signs,
    standardise,
    sum_of_tails,
)
from fingerprints.detection.views import SEARCHES, Decision, rows_of

_FORMAT = 2  # of the blob; 1 had one view, and no number
MIN_INDEPENDENT = 20  # independent foreign images, or pools, below which no moments are estimated


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What a decoder answers to foreign images. Made by `from_logits` or `from_bytes`."""

    decoder_hash: str  # of the decoder that answered
    logits: np.ndarray  # float16 [n,K,B], finite; one row per view
    source: np.ndarray  # int32 [n]: crops or frames of one picture share a number
    views: tuple[str, ...] = SEARCHES["none"]  # names of the K views

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or 0 in self.logits.shape:
            raise ValueError(f"expected logits [n,K,B], got an array of shape {self.logits.shape}")
        if self.logits.shape[1] != len(self.views):
            raise ValueError(f"{len(self.views)} views, but logits of shape {self.logits.shape}")
        if self.source.shape != self.logits.shape[:1]:
            raise ValueError(
                f"{len(self.logits)} foreign images with sources of shape {self.source.shape}"
            )
        if not np.isfinite(self.logits).all():
            raise ValueError("logits of foreign images are not finite")

    @classmethod
    def from_logits(
        cls,
        decoder_hash: str,
        logits: np.ndarray,
        source: np.ndarray | None = None,
        views: tuple[str, ...] = SEARCHES["none"],
    ) -> "Calibration":
        """Keeps the decoder's answers to foreign images.

        Args:
            decoder_hash: the decoder's hash.
            logits: [n,K,B] of the decoder, finite, a row per view; or [n,B] with one view.
            source: integers [n], equal for what comes from one picture (crops, frames); None: all
                differ.
            views: names of the views.

        Raises:
            ValueError: a shape does not fit or a logit is not finite.
        """
        logits = np.asarray(logits)
        if not np.isfinite(logits).all():
            raise ValueError("logits of foreign images are not finite")
        if logits.ndim == 2:
            logits = logits[:, None]
        source = np.arange(len(logits)) if source is None else np.asarray(source)
        # float16 ends at 65504, far beyond where a sigmoid is 1.
        kept = np.clip(logits, -6e4, 6e4).astype(np.float16)
        return cls(decoder_hash, kept, source.astype(np.int32), tuple(views))

    def of_views(self, views: tuple[str, ...]) -> "Calibration":
        """The same images in these views only.

        Raises:
            UserError: it was made without one of them.
        """
        if views == self.views:
            return self
        rows = rows_of(views, self.views)
        return Calibration(self.decoder_hash, self.logits[:, rows], self.source, views)

    @property
    def num_bits(self) -> int:
        """Number of bits B."""
        return self.logits.shape[2]

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
        """float64 [K,B]: mean logit per view and bit over foreign images."""
        views = range(len(self.views))
        return np.stack([self.weights @ self.logits[:, v].astype(np.float64) for v in views])

    @functools.cached_property
    def sd(self) -> np.ndarray:
        """float64 [K,B]: standard deviation per view and bit; 1 for a bit that never varies."""
        views = range(len(self.views))
        variance = np.stack(
            [self.weights @ np.square(self.logits[:, v] - self.mean[v]) for v in views]
        )
        return np.sqrt(np.where(variance > 0, variance, 1.0))

    def standardise(self, logits: np.ndarray) -> np.ndarray:
        """Logits [...,K,B] -> float64 [...,K,B] with mean 0 and deviation 1 over foreign images."""
        return (np.asarray(logits, dtype=np.float64) - self.mean) / self.sd

    def pools(self, size: int, seed: int = 0) -> np.ndarray:
        """Foreign images pooled as `verdict.pool_logits` does.

        Groups share no image, and no group has two images of one source. They are mixed at random:
        that many images of one foreign maker can be more alike, which no calibration shows.

        Args:
            size: images per group; with 1 the logits stay as they are.
            seed: of the order in which sources are grouped.

        Returns:
            float64 [G,K,B], G = number of sources // size.

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
        pools = self.standardise(logits).reshape(num_pools, size, *logits.shape[1:])
        return np.asarray(pools.sum(axis=1))

    def null_for(self, index: Index, pool: int = 1, decision: Decision = "soft") -> "ForeignNull":
        """How often foreign images fit some fingerprint of a registry, in some view, by chance.

        The null's p-value for a normal score z (`nulls`) is the larger of
        - the sum over all fingerprints and views of the tail at z of a normal distribution with the
          mean and the variance of that fingerprint's score over foreign images, never narrower than
          the exact one;
        - the share of sources of which some image, in some view, fits some fingerprint as well.

        The errors of moments from few images add up to larger p-values, not smaller ones.

        Args:
            index: every fingerprint ever registered.
            pool: number of images that are decided together.
            decision: what logits weigh.

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

        moments = []
        best = np.full(len(rows), -np.inf)
        for view in range(len(self.views)):
            found = weigh(rows[:, view], decision)
            moments.append(score_moments(index.words, standardise(found), weights, len(pools)))
            _, lost = index.nearest(found, 1)
            np.maximum(best, normal_scores(chance(found, lost[:, 0])), out=best)
        sure = np.abs(rows[:, 0].astype(np.float64)).mean(axis=1)
        return ForeignNull(
            num_bits=self.num_bits,
            num_keys=len(index),
            views=self.views,
            decision=decision,
            pool=pool,
            num_independent=len(pools),
            tails=sum_of_tails(moments),
            best=np.sort(max_per_source(best, source)),
            confidences=np.sort(max_per_source(sure, source)),
        )

    def favoured(self, bits: np.ndarray) -> np.ndarray:
        """Which candidates for a fingerprint foreign images lean to, so that they are redrawn.

        Favoured is a candidate whose mean T over foreign images, in some view, is larger than one
        in forty uniform candidates have, or with which some foreign image agrees so well that one
        of all images and views would by chance with a probability of about 1 %. So those that pass
        are all but uniform, whatever the decoder: no word becomes more frequent than by the share
        that was refused.

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
        images = self._standardised  # [K,n,B]
        lean = np.stack([self.weights @ view for view in images])  # [K,B]
        # Normal scores: 2 for one view, more where there are more chances.
        most = -scipy.special.ndtri(scipy.special.ndtr(-2) / len(lean))
        improbable = -scipy.special.ndtri(0.01 / (self.num_images * len(images)))

        found = np.zeros(len(bits), dtype=bool)
        block = max(1, 2**22 // self.num_images)
        for start in range(0, len(bits), block):
            codes = signs(bits[start : start + block])
            leaning = codes @ lean.T > most * np.sqrt(np.sum(lean**2, axis=1))
            found[start : start + block] = leaning.any(axis=1)
            for view in images:
                closest = (codes.astype(np.float32) @ view.T).max(axis=1)
                found[start : start + block] |= closest >= improbable
        return found

    @functools.cached_property
    def _standardised(self) -> np.ndarray:
        """float32 [K,n,B] of length 1; `favoured` is called once per few candidates."""
        views = range(len(self.views))
        return np.stack([standardise(weigh(self.logits[:, v])).astype(np.float32) for v in views])

    def to_bytes(self) -> bytes:
        """The calibration as one blob, for `from_bytes`."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            version=np.array(_FORMAT),
            decoder_hash=np.array(self.decoder_hash),
            logits=self.logits,
            source=self.source,
            views=np.array(self.views),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """Reads what `to_bytes` wrote.

        Raises:
            UserError: the blob is of an earlier version, damaged or something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                version = arrays["version"] if "version" in arrays else np.array(1)
                if version.shape or version != _FORMAT:
                    raise UserError(
                        f"the stored calibration is of version {version}, not {_FORMAT}: it says "
                        "nothing of soft decisions; calibrate again"
                    )
                decoder_hash, logits, source, views = (
                    arrays[name] for name in ("decoder_hash", "logits", "source", "views")
                )
            kinds = (decoder_hash.dtype.kind, logits.dtype, source.dtype, views.dtype.kind)
            if kinds != ("U", np.float16, np.int32, "U") or decoder_hash.ndim or views.ndim != 1:
                raise ValueError("arrays of other types")
            return cls(str(decoder_hash), logits, source, tuple(views.tolist()))
        # What NumPy and its zip reader raise for bytes that are no such archive; an array without
        # a name, which np.load returns as such, has no context manager.
        except (
            *(ValueError, KeyError, TypeError, AttributeError, OSError, EOFError),
            *(zipfile.BadZipFile, zlib.error, NotImplementedError),
        ) as error:
            raise UserError(
                f"the stored calibration cannot be read ({error}); calibrate once more"
            ) from error

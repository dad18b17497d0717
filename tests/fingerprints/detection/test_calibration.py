"""Calibrated null distributions against SciPy, brute force and made-up biased decoders."""

import io

import numpy as np
import pytest
import scipy.stats

from dnnlib.errors import UserError
from fingerprints.bits import decide_bits, pack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.evidence import chance, lost_weight, weigh
from fingerprints.detection.nulls import score_moments, standardise, sum_of_tails
from fingerprints.detection.tails import binomial_tail
from fingerprints.detection.views import Decision
from tests.support.foreign import BruteIndex, biased_logits, unlucky_registry


def random_calibration(num_images: int = 200, num_bits: int = 16, seed: int = 1, **kwargs):
    rng = np.random.default_rng(seed)
    logits = 0.3 + rng.standard_normal((num_images, num_bits))
    return Calibration.from_logits("abc", logits, **kwargs)


# The rate among foreign images.


def nearest_chances(index: BruteIndex, logits: np.ndarray, decision: Decision) -> np.ndarray:
    """Of the nearest fingerprint of every image [M]."""
    weights = weigh(logits, decision)
    return chance(weights, index.nearest(weights, 1)[1][:, 0])


@pytest.mark.parametrize("decision", ["soft", "bits"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_calibrated_pvalues_keep_the_rate_that_exact_ones_miss(seed, decision):
    rng, fingerprints, bias, loadings = unlucky_registry(seed)
    index = BruteIndex(fingerprints)
    calibration = Calibration.from_logits("", biased_logits(rng, 10_000, bias, loadings))
    null = calibration.null_for(index, decision=decision)
    # Images that the calibration has not seen.
    fresh = biased_logits(rng, 20_000, bias, loadings)
    chances = nearest_chances(index, fresh, decision)
    both = np.maximum(np.minimum(1, len(index) * chances), null.pvalue(chances))
    for level in (1e-2, 1e-3, 1e-4):
        assert np.mean(len(index) * chances <= level) > 10 * level
        count = int(np.sum(both <= level))
        worse = scipy.stats.binomtest(count, len(fresh), level, alternative="greater")
        assert worse.pvalue > 1e-3
    # It is no refusal of everything: 60 of 64 bits still pass.
    assert null.pvalue(binomial_tail(60, 64)) < 1e-4


@pytest.mark.parametrize("decision", ["soft", "bits"])
def test_exact_pvalues_hold_on_average_over_the_draw_of_fingerprints(decision):
    """The same biased decoder, but every registry is drawn anew."""
    rng, _, bias, loadings = unlucky_registry(0)
    weights = weigh(biased_logits(rng, 20_000, bias, loadings), decision)
    drawn = rng.integers(0, 2, weights.shape, dtype=np.uint8)
    chances = chance(weights, lost_weight(weights, drawn))
    for level in (1e-1, 1e-2, 1e-3, 1e-4):
        count = int(np.sum(chances <= level))
        assert (
            scipy.stats.binomtest(count, len(chances), level, alternative="greater").pvalue > 1e-3
        )
        if decision == "soft":
            assert scipy.stats.binomtest(count, len(chances), level).pvalue > 1e-3


def test_fair_decoder_gives_nearly_the_exact_pvalues():
    rng = np.random.default_rng(3)
    index = BruteIndex(rng.integers(0, 2, (50, 32)))
    calibration = Calibration.from_logits("", rng.standard_normal((20_000, 32)))
    null = calibration.null_for(index)
    single = 10.0 ** -np.arange(3, 12)
    assert np.all(null.pvalue(single) >= 50 * single * 0.9)
    assert np.all(null.pvalue(single) <= 50 * single * 1.6)


def test_images_that_hit_a_fingerprint_count_whatever_the_moments_say():
    """One foreign image in fifty reads as fingerprint 0; no moments would expect it."""
    rng = np.random.default_rng(4)
    fingerprints = rng.integers(0, 2, (3, 64), dtype=np.uint8)
    logits = rng.standard_normal((1000, 64))
    logits[:20] = 2.0 * fingerprints[0] - 1
    null = Calibration.from_logits("", logits).null_for(BruteIndex(fingerprints))
    assert null.pvalue(0.5**64) == 20 / 1000
    assert not null.is_extrapolated(null.pvalue(0.5**64))


def test_pvalues_below_one_in_the_images_are_extrapolated():
    null = random_calibration(200, 64).null_for(BruteIndex(np.eye(3, 64)))
    assert null.num_independent == 200
    assert null.is_extrapolated(null.pvalue(0.5**64))
    assert null.is_extrapolated(0.99 / 200)
    assert not null.is_extrapolated(1 / 200)


def test_views_are_chances_of_their_own():
    """The same images twice: twice the tails, and the same share of images that come near."""
    one = random_calibration(300, 64)
    two = Calibration.from_logits(
        "", np.repeat(one.logits, 2, axis=1), views=("as it is", "mirrored")
    )
    index = BruteIndex(np.eye(3, 64))
    assert two.null_for(index).tails == pytest.approx(2 * one.null_for(index).tails, rel=1e-12)
    assert two.null_for(index).best.tolist() == one.null_for(index).best.tolist()
    again = two.of_views(("mirrored",))
    assert again.views == ("mirrored",)
    assert again.null_for(index).tails == pytest.approx(one.null_for(index).tails, rel=1e-12)
    assert two.of_views(two.views) is two
    with pytest.raises(UserError, match=r"without the edit 'mirrored'; calibrate again with --sea"):
        one.of_views(("as it is", "mirrored"))


# Moments and tails.


def scores_of(fingerprints: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Standardised T of every fingerprint [N] with every image [n]: [N,n]."""
    return (2.0 * fingerprints - 1) @ standardise(images).T


def test_moments_are_those_of_the_scores():
    rng = np.random.default_rng(5)
    fingerprints = rng.integers(0, 2, (300, 70), dtype=np.uint8)
    images = weigh(rng.standard_normal((500, 70)) + (rng.random((500, 1)) < 0.3))
    weights = np.full(500, 1 / 500)
    means, variances = score_moments(pack_bits(fingerprints), standardise(images), weights, 500)
    scores = scores_of(fingerprints, images)
    assert means == pytest.approx(scores.mean(axis=1), rel=1e-12)
    assert variances == pytest.approx(scores.var(axis=1, ddof=1), rel=1e-10)


def test_moments_in_blocks_are_those_of_the_whole(monkeypatch):
    rng = np.random.default_rng(6)
    words = pack_bits(rng.integers(0, 2, (50, 20), dtype=np.uint8))
    images = standardise(weigh(rng.standard_normal((40, 20))))
    whole = score_moments(words, images, np.full(40, 1 / 40), 40)
    monkeypatch.setattr("fingerprints.detection.nulls._BLOCK", 7)
    blocks = score_moments(words, images, np.full(40, 1 / 40), 40)
    assert np.allclose(whole, blocks, rtol=1e-13)


def test_scores_of_fair_fingerprints_have_mean_0_and_variance_1():
    rng = np.random.default_rng(7)
    images = weigh(np.concatenate([rng.standard_cauchy((3, 64)), np.ones((1, 64))]))
    scores = scores_of(rng.integers(0, 2, (100_000, 64)), images)
    assert scores.mean(axis=0) == pytest.approx(np.zeros(4), abs=0.02)
    assert scores.var(axis=0) == pytest.approx(np.ones(4), abs=0.02)
    assert standardise(np.zeros((1, 5), int)).tolist() == [[0.0] * 5]


def test_rounding_moments_up_makes_tails_a_little_heavier():
    """Against the sum over fingerprints without a grid; and never narrower than the exact one.

    Near the mean, where p-values are large, the wider distribution may have the smaller tail.
    """
    rng = np.random.default_rng(8)
    moments = [(rng.normal(0, 0.4, 500), rng.uniform(0.5, 1.5, 500)) for _ in range(2)]
    sums = sum_of_tails(moments)
    scores = np.arange(len(sums)) / 64 - 4
    mean, spread = (np.concatenate(part)[:, None] for part in zip(*moments, strict=True))
    expected = scipy.stats.norm.sf((scores - mean) / np.sqrt(np.maximum(spread, 1))).sum(axis=0)
    far = (scores > 3) & (scores < 9)
    assert np.all(sums[far] >= expected[far])
    assert np.all(sums[far] <= expected[far] * 1.6)
    assert np.all(np.diff(sums) <= 0)
    fair = scipy.stats.norm.sf(scores - mean).sum(axis=0)
    assert np.all(sums[far] >= fair[far])


def test_scores_are_rounded_down():
    null = random_calibration(200, 64).null_for(BruteIndex(np.eye(3, 64)))
    scores = np.linspace(-5, 12, 1000)
    found = null.pvalue(scipy.stats.norm.sf(scores))
    assert np.all(np.diff(found) <= 0)
    assert found[0] == 1.0
    mean = np.concatenate([null.tails, [0.0]])
    cells = np.floor((scores[scores > 6] + 4) * 64 + 1e-6).astype(int)
    assert np.all(found[scores > 6] >= mean[cells + 1])


def test_decoder_that_reads_one_word_only_leaves_no_evidence_for_its_owner():
    index = BruteIndex(np.ones((1, 16)))
    null = Calibration.from_logits("", np.ones((50, 16))).null_for(index)
    assert null.pvalue(0.5**16) == 1.0
    other = Calibration.from_logits("", np.ones((50, 16))).null_for(BruteIndex(np.zeros((1, 16))))
    assert other.pvalue(0.5**16) < 1e-9
    assert np.isfinite(other.tails).all()


def test_decoder_that_says_nothing_of_anything():
    null = Calibration.from_logits("", np.zeros((50, 16))).null_for(BruteIndex(np.eye(3, 16)))
    assert null.pvalue(1.0) == 1.0
    assert null.pvalue(1e-9) == pytest.approx(3e-9, rel=0.2)


# Crops, frames and pools.


def test_crops_of_one_picture_are_not_counted_as_independent():
    rng = np.random.default_rng(8)
    fingerprints = rng.integers(0, 2, (5, 64), dtype=np.uint8)
    logits = rng.standard_normal((60, 64))
    logits[0] = 2.0 * fingerprints[2] - 1
    index = BruteIndex(fingerprints)
    plain = Calibration.from_logits("", logits).null_for(index)
    # The hit and thirty of its crops: still one source in sixty.
    crops = Calibration.from_logits(
        "",
        np.concatenate([logits, np.repeat(logits[:1], 30, axis=0)]),
        np.concatenate([np.arange(60), np.zeros(30, dtype=int)]),
    )
    assert (crops.num_images, crops.num_independent) == (90, 60)
    null = crops.null_for(index)
    assert null.num_independent == 60
    assert null.pvalue(0.5**64) == plain.pvalue(0.5**64) == 1 / 60
    single = 10.0 ** -np.arange(1, 12)
    assert null.pvalue(single) == pytest.approx(plain.pvalue(single), rel=1e-9)


def test_mean_and_deviation_weigh_sources_alike():
    logits = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    calibration = Calibration.from_logits("", logits, np.array([4, 4, 9]))
    assert calibration.weights.tolist() == [0.25, 0.25, 0.5]
    assert calibration.mean.tolist() == [[5.0, 5.0]]
    # A bit that never varies keeps its unit.
    assert calibration.sd[0] == pytest.approx([np.sqrt((16 + 4) / 4 + 9 / 2), 1.0])
    assert calibration.standardise(np.array([[5.0, 7.0]])).tolist() == [[0.0, 2.0]]


def test_pools_are_disjoint_groups_of_different_sources():
    # The first bit reads the source's number, so sums tell which sources are in them.
    source = np.arange(90) // 2
    logits = np.zeros((90, 2))
    logits[:, 0] = source
    logits[:, 1] = np.arange(90) % 2
    calibration = Calibration.from_logits("", logits, source)
    pools = calibration.pools(2)
    assert pools.shape == (22, 1, 2)
    # Undo the standardising: sums of the source numbers, of 44 of the 45 sources.
    sums = (pools * calibration.sd + 2 * calibration.mean)[:, 0]
    left_out = source.max() * 45 / 2 - sums[:, 0].sum()
    assert left_out == pytest.approx(round(left_out), abs=0.01)
    assert 0 <= round(left_out) <= 44
    # Neighbours are not pooled together: that would be 0 + 1, 2 + 3, ...
    assert np.abs(np.sort(sums[:, 0]) - np.arange(1, 88, 4)).max() > 2
    # One image of every source, not always the first.
    assert 0 < sums[:, 1].sum() < 44
    assert np.array_equal(pools, calibration.pools(2))
    assert not np.array_equal(pools, calibration.pools(2, seed=1))


def test_pools_of_one_are_plain_logits():
    calibration = random_calibration(30)
    pools = calibration.pools(1)
    assert np.array_equal(np.sort(pools, axis=0), np.sort(calibration.logits, axis=0))


def test_null_of_pools_keeps_its_rate():
    """Fresh pools of 8 foreign images, against a calibration of 4,000 images."""
    rng, fingerprints, bias, loadings = unlucky_registry(1)
    index = BruteIndex(fingerprints)
    calibration = Calibration.from_logits("", biased_logits(rng, 4000, bias, loadings))
    null = calibration.null_for(index, pool=8)
    assert (null.pool, null.num_independent, null.num_keys) == (8, 500, 20)
    fresh = biased_logits(rng, 160_000, bias, loadings).reshape(20_000, 8, 64)
    pooled = calibration.standardise(fresh).sum(axis=1)
    chances = nearest_chances(index, pooled, "soft")
    both = np.maximum(np.minimum(1, len(index) * chances), null.pvalue(chances))
    for level in (1e-2, 1e-3):
        count = int(np.sum(both <= level))
        worse = scipy.stats.binomtest(count, len(both), level, alternative="greater")
        assert worse.pvalue > 1e-3
    # The confidence of pooled vectors, not that of single images.
    assert null.confidences.mean() == pytest.approx(np.abs(pooled).mean(), rel=0.05)


@pytest.mark.parametrize(
    ("num_images", "pool", "cure"),
    [
        (19, 1, "calibrate with at least 20$"),
        (100, 6, "are too few for pools of 6; calibrate with at least 120, or pool at most 5$"),
        (10, 2, "are too few for pools of 2; calibrate with at least 40$"),
    ],
)
def test_too_few_images_are_refused(num_images, pool, cure):
    with pytest.raises(UserError, match=f"{num_images} independent foreign images.*{cure}"):
        random_calibration(num_images).null_for(BruteIndex(np.eye(3, 16)), pool)


# Confidence.


def test_confidence_is_a_count_of_foreign_images():
    null = random_calibration(400).null_for(BruteIndex(np.eye(3, 16)))
    sure = np.sort(np.abs(random_calibration(400).logits.astype(np.float64)).mean(axis=(1, 2)))
    assert null.num_as_sure(0.0) == 400
    assert null.num_as_sure(sure[-1]) == 1
    assert null.num_as_sure(sure[100]) == 300
    # Beyond the surest there is no number but 0, however far.
    assert null.num_as_sure(sure[-1] + 1e-6) == null.num_as_sure(1e6) == 0


def test_confidence_needs_enough_images():
    index = BruteIndex(np.eye(3, 16))
    assert random_calibration(99).null_for(index).num_as_sure(1.0) is None
    assert random_calibration(100).null_for(index).num_as_sure(100.0) == 0
    assert random_calibration(400).null_for(index, pool=5).num_as_sure(1.0) is None


def test_confidence_counts_a_source_once():
    source = np.arange(400) // 4
    calibration = random_calibration(400, source=source)
    null = calibration.null_for(BruteIndex(np.eye(3, 16)))
    sure = np.abs(calibration.logits.astype(np.float64)).mean(axis=(1, 2))
    assert null.confidences == pytest.approx(np.sort(sure.reshape(100, 4).max(axis=1)))


# Candidates for new fingerprints.


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("shared", [0.0, 0.5, 5.0])
def test_most_candidates_pass_however_biased_the_decoder(scale, shared):
    rng = np.random.default_rng(9)
    bias = scale * rng.standard_normal(64)
    logits = biased_logits(rng, 1000, bias, shared * rng.standard_normal((2, 64)))
    calibration = Calibration.from_logits("", logits)
    favoured = calibration.favoured(rng.integers(0, 2, (20_000, 64), dtype=np.uint8))
    assert favoured.dtype == bool
    assert 0.001 < favoured.mean() < 0.1


@pytest.mark.parametrize("num_biased", [1, 4, 5, 8])
def test_most_candidates_pass_when_few_bits_are_stuck(num_biased):
    rng = np.random.default_rng(10)
    logits = rng.standard_normal((500, 64))
    logits[:, :num_biased] = 3.0
    candidates = rng.integers(0, 2, (20_000, 64), dtype=np.uint8)
    assert Calibration.from_logits("", logits).favoured(candidates).mean() < 0.1


def test_favoured_are_words_near_the_decoders_bias_and_words_that_an_image_reads():
    rng = np.random.default_rng(11)
    bias = rng.choice([-1.0, 1.0], 64)
    logits = rng.standard_normal((1000, 64)) + 0.5 * bias
    lone = rng.integers(0, 2, 64, dtype=np.uint8)
    calibration = Calibration.from_logits("", logits)
    lean = (bias > 0).astype(np.uint8)
    assert calibration.favoured(np.stack([lean, 1 - lean])).tolist() == [True, False]
    balanced = lean.copy()
    balanced[:32] ^= 1  # half of the bits against the bias: no lean at all
    assert not calibration.favoured(balanced[None])[0]
    with_image = Calibration.from_logits("", np.concatenate([logits, 2.0 * balanced[None] - 1]))
    assert with_image.favoured(balanced[None])[0]
    assert calibration.favoured(lone[None]).shape == (1,)


def test_favoured_agrees_with_the_scores():
    rng, _, bias, loadings = unlucky_registry(2, num_bits=32)
    calibration = Calibration.from_logits("", biased_logits(rng, 300, bias, loadings))
    candidates = rng.integers(0, 2, (3000, 32), dtype=np.uint8)
    images = weigh(calibration.logits[:, 0])
    scores = scores_of(candidates, images)
    lean = standardise(images).mean(axis=0)
    expected = (scores.mean(axis=1) > 2 * np.sqrt(np.sum(lean**2))) | (
        300 * scipy.stats.norm.sf(scores.max(axis=1)) <= 0.01
    )
    assert 0 < expected.sum() < 300
    assert np.array_equal(calibration.favoured(candidates), expected)


def test_favoured_in_any_view():
    """And the more views, the stricter each: as few are refused as with one."""
    rng = np.random.default_rng(13)
    logits = rng.standard_normal((500, 3, 64))
    lean = rng.choice([-1.0, 1.0], (2, 64))
    logits[:, 1:] += lean
    views = ("as it is", "mirrored", "other")
    calibration = Calibration.from_logits("", logits, views=views)
    words = (lean > 0).astype(np.uint8)
    assert calibration.favoured(words).tolist() == [True, True]
    assert calibration.favoured(rng.integers(0, 2, (5000, 64))).mean() < 0.05
    assert not calibration.of_views(("as it is",)).favoured(words).any()


def test_favoured_redraws_lower_the_exact_pvalues_error():
    """After redraws no licensee of a biased decoder is as unlucky as before."""
    rng, _, bias, loadings = unlucky_registry(0)
    calibration = Calibration.from_logits("", biased_logits(rng, 2000, bias, loadings))
    candidates = rng.integers(0, 2, (5000, 64), dtype=np.uint8)
    fresh = decide_bits(biased_logits(rng, 2000, bias, loadings))
    means = ((2.0 * candidates - 1) @ (2.0 * fresh - 1).T).mean(axis=1)
    favoured = calibration.favoured(candidates)
    assert means[~favoured].max() < means.max()
    assert means[favoured].mean() > means[~favoured].mean()


def test_few_bits_favour_nobody_for_an_image():
    """With 4 bits and many images every word is read by some image, which says nothing."""
    rng = np.random.default_rng(12)
    calibration = Calibration.from_logits("", rng.standard_normal((1000, 4)))
    words = np.array([[w >> k & 1 for k in range(4)] for w in range(16)], dtype=np.uint8)
    assert calibration.favoured(words).sum() < 4


@pytest.mark.parametrize("shape", [(16,), (3, 15)])
def test_candidates_of_another_size_raise(shape):
    with pytest.raises(ValueError, match=r"expected candidates \[C,16\], got"):
        random_calibration().favoured(np.zeros(shape, np.uint8))


# Storage and refusals.


def test_blob_gives_the_calibration_back():
    calibration = random_calibration(30, source=np.arange(30) // 2)
    again = Calibration.from_bytes(calibration.to_bytes())
    assert again.decoder_hash == "abc"
    assert again.views == ("as it is",)
    for name, dtype in (("logits", np.float16), ("source", np.int32)):
        assert getattr(again, name).dtype == dtype
        assert np.array_equal(getattr(again, name), getattr(calibration, name))


def saved(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


GOOD = {
    "version": np.array(2),
    "decoder_hash": np.array("abc"),
    "logits": np.zeros((3, 2, 4), np.float16),
    "source": np.zeros(3, np.int32),
    "views": np.array(["as it is", "mirrored"]),
}


def without(*names: str) -> dict:
    return {name: array for name, array in GOOD.items() if name not in names}


def test_blob_of_the_right_arrays_is_read():
    assert Calibration.from_bytes(saved(**GOOD)).num_images == 3


def array_file() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"not a calibration",
        saved(**GOOD)[:-30],
        saved(**GOOD)[:200],
        array_file(),
        saved(**without("decoder_hash")),
        saved(**without("views")),
        saved(**{**GOOD, "logits": np.zeros((3, 2, 4))}),
        saved(**{**GOOD, "logits": np.zeros((3, 4), np.float16)}),
        saved(**{**GOOD, "logits": np.full((3, 2, 4), np.nan, np.float16)}),
        saved(**{**GOOD, "views": np.array(["as it is"])}),
        saved(**{**GOOD, "views": np.array("as it is")}),
        saved(**{**GOOD, "views": np.zeros(2)}),
        saved(**{**GOOD, "source": np.zeros(2, np.int32)}),
        saved(**{**GOOD, "source": np.zeros(3)}),
        saved(**{**GOOD, "decoder_hash": np.array(["abc"])}),
        saved(**{**GOOD, "decoder_hash": np.array([{}], dtype=object)}),
    ],
)
def test_damaged_and_foreign_blobs_are_refused(blob):
    with pytest.raises(UserError, match=r"stored calibration cannot be read \(.*calibrate once"):
        Calibration.from_bytes(blob)


@pytest.mark.parametrize(
    "blob",
    [
        saved(**{**without("version", "views"), "logits": np.zeros((3, 4), np.float16)}),
        saved(**{**GOOD, "version": np.array(3)}),
        saved(**{**GOOD, "version": np.array([2])}),
    ],
)
def test_blobs_of_another_version_are_refused_with_the_cure(blob):
    with pytest.raises(UserError, match="stored calibration is of version .*; calibrate again$"):
        Calibration.from_bytes(blob)


def test_every_damaged_byte_is_refused_or_harmless():
    """Whatever a flipped byte does, it raises nothing but UserError."""
    blob = bytearray(random_calibration(30).to_bytes())
    refused = 0
    for position in range(0, len(blob), 3):
        blob[position] ^= 0xFF
        try:
            Calibration.from_bytes(bytes(blob))
        except UserError:
            refused += 1
        blob[position] ^= 0xFF
    assert refused > len(blob) / 3 * 0.7


def test_huge_logits_stay_finite():
    calibration = Calibration.from_logits("", np.array([[1e30, -1e30]]))
    assert calibration.logits.tolist() == [[[6e4, -6e4]]]


@pytest.mark.parametrize(
    ("logits", "source", "text"),
    [
        (np.zeros(3), None, r"expected logits \[n,K,B\], got an array of shape \(3,\)"),
        (np.zeros((0, 3)), None, r"expected logits \[n,K,B\], got an array of shape \(0, 1, 3\)"),
        (np.zeros((4, 2, 3)), None, r"1 views, but logits of shape \(4, 2, 3\)"),
        (np.zeros((4, 3)), np.zeros(3), r"4 foreign images with sources of shape \(3,\)"),
        (np.full((4, 3), np.inf), None, "logits of foreign images are not finite"),
    ],
)
def test_wrong_arrays_raise(logits, source, text):
    with pytest.raises(ValueError, match=text):
        Calibration.from_logits("", logits, source)


@pytest.mark.parametrize("fingerprints", [np.zeros((3, 15)), np.zeros((0, 16))])
def test_index_that_does_not_fit_raises(fingerprints):
    with pytest.raises(ValueError, match="calibrated for 16 bits, but the index holds"):
        random_calibration().null_for(BruteIndex(fingerprints))

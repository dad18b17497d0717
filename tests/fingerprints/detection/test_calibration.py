"""Calibrated null distributions against SciPy, brute force and made-up biased decoders."""

import io

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from dnnlib.errors import UserError
from fingerprints.bits import decide_bits, pack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.nulls import beta_binomial_tails, match_moments
from fingerprints.detection.tails import binomial_tail, count_matches
from tests.support.foreign import BruteIndex, biased_logits, unlucky_registry


def random_calibration(num_images: int = 200, num_bits: int = 16, seed: int = 1, **kwargs):
    rng = np.random.default_rng(seed)
    logits = 0.3 + rng.standard_normal((num_images, num_bits))
    return Calibration.from_logits("abc", logits, **kwargs)


# The rate among foreign images.


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_calibrated_pvalues_keep_the_rate_that_exact_ones_miss(seed):
    rng, fingerprints, bias, loadings = unlucky_registry(seed)
    index = BruteIndex(fingerprints)
    calibration = Calibration.from_logits("", biased_logits(rng, 2000, bias, loadings))
    null = calibration.null_for(index)
    # Images that the calibration has not seen.
    best = index.max_matches(decide_bits(biased_logits(rng, 100_000, bias, loadings)))
    exact = np.minimum(1, len(index) * binomial_tail(np.arange(65), 64))
    both = np.maximum(exact, null.match_pvalues)
    for level in (1e-2, 1e-3, 1e-4):
        assert np.mean(exact[best] <= level) > 10 * level
        count = int(np.sum(both[best] <= level))
        worse = scipy.stats.binomtest(count, len(best), level, alternative="greater")
        assert worse.pvalue > 1e-3
    # It is no refusal of everything: 60 of 64 bits still pass.
    assert both[60] < 1e-4


def test_exact_pvalues_hold_on_average_over_the_draw_of_fingerprints():
    """The same biased decoder, but every registry is drawn anew: the binomial is right."""
    rng, _, bias, loadings = unlucky_registry(0)
    decoded = decide_bits(biased_logits(rng, 200_000, bias, loadings))
    drawn = rng.integers(0, 2, decoded.shape, dtype=np.uint8)
    matches = count_matches(decoded, drawn)
    for num_match in (40, 44, 46):
        low, high = scipy.stats.binom.interval(
            0.999, len(matches), float(binomial_tail(num_match, 64))
        )
        assert low <= np.sum(matches >= num_match) <= high


def test_fair_decoder_gives_nearly_the_exact_pvalues():
    rng = np.random.default_rng(3)
    index = BruteIndex(rng.integers(0, 2, (50, 32)))
    calibration = Calibration.from_logits("", rng.standard_normal((20_000, 32)))
    null = calibration.null_for(index)
    exact = np.minimum(1, 50 * binomial_tail(np.arange(33), 32))
    assert np.all(null.match_pvalues[26:] >= exact[26:] * 0.9)
    assert np.all(null.match_pvalues[26:] <= exact[26:] * 1.6)


def test_images_that_hit_a_fingerprint_count_whatever_the_moments_say():
    """One foreign image in fifty reads as fingerprint 0; no beta-binomial would expect it."""
    rng = np.random.default_rng(4)
    fingerprints = rng.integers(0, 2, (3, 64), dtype=np.uint8)
    logits = rng.standard_normal((1000, 64))
    logits[:20] = 2.0 * fingerprints[0] - 1
    null = Calibration.from_logits("", logits).null_for(BruteIndex(fingerprints))
    assert null.match_pvalue(64) == 20 / 1000
    assert not null.is_extrapolated(null.match_pvalue(64))


def test_pvalues_below_one_in_the_images_are_extrapolated():
    null = random_calibration(200, 64).null_for(BruteIndex(np.eye(3, 64)))
    assert null.num_independent == 200
    assert null.is_extrapolated(null.match_pvalue(64))
    assert null.is_extrapolated(0.99 / 200)
    assert not null.is_extrapolated(1 / 200)


def test_table_is_a_falling_probability():
    null = random_calibration(50, 16).null_for(BruteIndex(np.eye(5, 16)))
    assert null.match_pvalues.shape == (17,)
    assert null.match_pvalues[0] == 1.0
    assert np.all(np.diff(null.match_pvalues) <= 0)
    assert null.match_pvalues[-1] > 0


# Moments and tails.


def test_moments_are_those_of_the_counted_matches():
    rng = np.random.default_rng(5)
    fingerprints = rng.integers(0, 2, (300, 70), dtype=np.uint8)
    bits = rng.integers(0, 2, (500, 70), dtype=np.uint8) | (rng.random((500, 1)) < 0.3)
    means, variances = match_moments(pack_bits(fingerprints), bits, np.full(500, 1 / 500), 500)
    matches = np.array([count_matches(bits, f) for f in fingerprints])
    assert means == pytest.approx(matches.mean(axis=1), rel=1e-12)
    assert variances == pytest.approx(matches.var(axis=1, ddof=1), rel=1e-10)


def test_moments_in_blocks_are_those_of_the_whole(monkeypatch):
    rng = np.random.default_rng(6)
    words = pack_bits(rng.integers(0, 2, (50, 20), dtype=np.uint8))
    bits = rng.integers(0, 2, (40, 20), dtype=np.uint8)
    whole = match_moments(words, bits, np.full(40, 1 / 40), 40)
    monkeypatch.setattr("fingerprints.detection.nulls._BLOCK", 7)
    blocks = match_moments(words, bits, np.full(40, 1 / 40), 40)
    assert np.allclose(whole, blocks, rtol=1e-13)


@pytest.mark.parametrize("num_bits", [1, 16, 128, 1024])
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.83])
@pytest.mark.parametrize("correlation", [1e-3, 0.05, 0.5])
def test_beta_binomial_tails_are_scipys(num_bits, rate, correlation):
    tails = beta_binomial_tails(num_bits, np.array([rate]), np.array([correlation]))[0]
    a = rate * (1 - correlation) / correlation
    b = (1 - rate) * (1 - correlation) / correlation
    pmf = scipy.stats.betabinom.pmf(np.arange(num_bits + 1), num_bits, a, b)
    assert tails == pytest.approx(np.minimum(1, pmf[::-1].cumsum()[::-1]), rel=1e-6)
    mean, variance = scipy.stats.betabinom.stats(num_bits, a, b)
    assert mean == pytest.approx(num_bits * rate)
    assert variance == pytest.approx(
        num_bits * rate * (1 - rate) * (1 + (num_bits - 1) * correlation)
    )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.97])
def test_beta_binomial_without_correlation_is_the_binomial(rate):
    tails = beta_binomial_tails(128, np.array([rate]), np.zeros(1))[0]
    assert tails == pytest.approx(scipy.stats.binom.sf(np.arange(129) - 1, 128, rate), rel=1e-9)


def test_rounding_moments_up_makes_tails_a_little_heavier():
    """Against the sum over fingerprints without a grid; and never narrower than the binomial.

    Near the mean, where p-values are large, the wider distribution may have the smaller tail.
    """
    rng, fingerprints, bias, loadings = unlucky_registry(3, num_bits=128, num_keys=500)
    calibration = Calibration.from_logits("", biased_logits(rng, 1000, bias, loadings))
    bits = decide_bits(calibration.logits)
    null = calibration.null_for(BruteIndex(fingerprints))
    matches = np.array([count_matches(bits, f) for f in fingerprints])
    rate = matches.mean(axis=1) / 128
    spread = np.maximum(1, matches.var(axis=1, ddof=1) / (128 * rate * (1 - rate)))
    expected = beta_binomial_tails(128, rate, (spread - 1) / 127).sum(axis=0)
    assert null.match_pvalues[128] < 1e-3  # beyond what images show, the sum decides
    assert 1 <= null.match_pvalues[128] / expected[128] < 1.25
    assert null.match_pvalues[120] < 1 / 1000
    assert 1 <= null.match_pvalues[120] / expected[120] < 1.25
    binomial = scipy.stats.binom.sf(np.arange(129)[:, None] - 1, 128, rate).sum(axis=1)
    far = binomial < 0.1
    assert np.all(null.match_pvalues[far] >= binomial[far])


def test_means_are_rounded_up():
    """Every image reads 10 of 16 ones, one in forty 11: narrower than any binomial."""
    bits = np.array([np.roll(np.arange(16) < 10, i) for i in range(40)])
    bits[0, 12] = True
    null = Calibration.from_logits("", bits - 0.5).null_for(BruteIndex(np.ones((1, 16))))
    binomial = scipy.stats.binom.sf(np.arange(17) - 1, 16, 10.025 / 16)
    assert np.all(null.match_pvalues[12:] >= binomial[12:])
    assert np.all(null.match_pvalues[12:] <= binomial[12:] * 1.12)


def test_decoder_that_reads_one_word_only_leaves_no_evidence_for_its_owner():
    """Mean B of B and variance 0: the ends of the beta-binomial."""
    index = BruteIndex(np.ones((1, 16)))
    null = Calibration.from_logits("", np.ones((50, 16))).null_for(index)
    assert null.match_pvalues == pytest.approx(np.ones(17), abs=1e-9)
    other = Calibration.from_logits("", np.ones((50, 16))).null_for(BruteIndex(np.zeros((1, 16))))
    assert other.match_pvalue(16) < 1e-9
    assert np.isfinite(other.match_pvalues).all()


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
    assert null.match_pvalue(64) == plain.match_pvalue(64) == 1 / 60
    assert null.match_pvalues == pytest.approx(plain.match_pvalues, rel=1e-9)


def test_mean_and_deviation_weigh_sources_alike():
    logits = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    calibration = Calibration.from_logits("", logits, np.array([4, 4, 9]))
    assert calibration.weights.tolist() == [0.25, 0.25, 0.5]
    assert calibration.mean.tolist() == [5.0, 5.0]
    # A bit that never varies keeps its unit.
    assert calibration.sd == pytest.approx([np.sqrt((16 + 4) / 4 + 9 / 2), 1.0])
    assert calibration.standardise(np.array([5.0, 7.0])).tolist() == [0.0, 2.0]


def test_pools_are_disjoint_groups_of_different_sources():
    # The first bit reads the source's number, so sums tell which sources are in them.
    source = np.arange(90) // 2
    logits = np.zeros((90, 2))
    logits[:, 0] = source
    logits[:, 1] = np.arange(90) % 2
    calibration = Calibration.from_logits("", logits, source)
    pools = calibration.pools(2)
    assert pools.shape == (22, 2)
    # Undo the standardising: sums of the source numbers, of 44 of the 45 sources.
    sums = pools * calibration.sd + 2 * calibration.mean
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
    best = index.max_matches(decide_bits(pooled))
    exact = np.minimum(1, len(index) * binomial_tail(np.arange(65), 64))
    both = np.maximum(exact, null.match_pvalues)
    for level in (1e-2, 1e-3):
        count = int(np.sum(both[best] <= level))
        worse = scipy.stats.binomtest(count, len(best), level, alternative="greater")
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
    sure = np.sort(np.abs(random_calibration(400).logits.astype(np.float64)).mean(axis=1))
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
    sure = np.abs(calibration.logits.astype(np.float64)).mean(axis=1)
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


def test_favoured_agrees_with_counted_matches():
    rng, _, bias, loadings = unlucky_registry(2, num_bits=32)
    calibration = Calibration.from_logits("", biased_logits(rng, 300, bias, loadings))
    candidates = rng.integers(0, 2, (3000, 32), dtype=np.uint8)
    bits = decide_bits(calibration.logits)
    matches = np.array([count_matches(bits, c) for c in candidates])  # [C,n]
    lean = 2 * bits.mean(axis=0) - 1
    expected = (matches.mean(axis=1) - 16 > np.sqrt(np.sum(lean**2))) | (
        300 * scipy.stats.binom.sf(matches.max(axis=1) - 1, 32, 0.5) <= 0.01
    )
    assert 0 < expected.sum() < 300
    assert np.array_equal(calibration.favoured(candidates), expected)


def test_favoured_redraws_lower_the_exact_pvalues_error():
    """After redraws no licensee of a biased decoder is as unlucky as before."""
    rng, _, bias, loadings = unlucky_registry(0)
    calibration = Calibration.from_logits("", biased_logits(rng, 2000, bias, loadings))
    candidates = rng.integers(0, 2, (5000, 64), dtype=np.uint8)
    fresh = decide_bits(biased_logits(rng, 2000, bias, loadings))
    means = np.array([count_matches(fresh, c).mean() for c in candidates])
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
    for name, dtype in (("logits", np.float16), ("source", np.int32)):
        assert getattr(again, name).dtype == dtype
        assert np.array_equal(getattr(again, name), getattr(calibration, name))


def saved(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


GOOD = {
    "decoder_hash": np.array("abc"),
    "logits": np.zeros((3, 4), np.float16),
    "source": np.zeros(3, np.int32),
}


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
        saved(logits=GOOD["logits"], source=GOOD["source"]),
        saved(**{**GOOD, "logits": np.zeros((3, 4))}),
        saved(**{**GOOD, "logits": np.zeros(3, np.float16)}),
        saved(**{**GOOD, "logits": np.full((3, 4), np.nan, np.float16)}),
        saved(**{**GOOD, "source": np.zeros(2, np.int32)}),
        saved(**{**GOOD, "source": np.zeros(3)}),
        saved(**{**GOOD, "decoder_hash": np.array(["abc"])}),
        saved(**{**GOOD, "decoder_hash": np.array([{}], dtype=object)}),
    ],
)
def test_damaged_and_foreign_blobs_are_refused(blob):
    with pytest.raises(UserError, match=r"stored calibration cannot be read \(.*calibrate once"):
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
    assert calibration.logits.tolist() == [[6e4, -6e4]]


@pytest.mark.parametrize(
    ("logits", "source", "text"),
    [
        (np.zeros(3), None, r"expected logits \[n,B\], got an array of shape \(3,\)"),
        (np.zeros((0, 3)), None, r"expected logits \[n,B\], got an array of shape \(0, 3\)"),
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

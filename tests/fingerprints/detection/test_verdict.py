"""Verdicts on made-up logits: kinds, margins, rates, pools and every refusal."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from fingerprints.detection import verdict as verdict_module
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.nulls import ForeignNull
from fingerprints.detection.tails import binomial_tail, match_pvalue, matches_needed
from fingerprints.detection.verdict import Verdict, expected_false, per_image_level, pool_logits
from tests.support.foreign import (
    BruteIndex,
    biased_logits,
    unlucky_registry,
)

NUM_BITS = 64


def make_index(num_keys: int = 20, num_bits: int = NUM_BITS, seed: int = 1) -> BruteIndex:
    return BruteIndex(np.random.default_rng(seed).integers(0, 2, (num_keys, num_bits)))


def logits_of(bits: np.ndarray, num_wrong: int = 0, size: float = 2.0) -> np.ndarray:
    """Logits that read `bits`, the first `num_wrong` of them wrongly."""
    logits = size * (2.0 * np.asarray(bits) - 1)
    logits[:num_wrong] *= -1
    return logits


def decide(logits: np.ndarray, index: BruteIndex, **kwargs) -> Verdict:
    """The verdict on one image in one view."""
    (found,) = verdict_module.decide(np.asarray(logits)[None, None], index, **kwargs)
    return found


def fixed(null: ForeignNull, pvalue: float) -> ForeignNull:
    """The null with one p-value, whatever the image."""
    tails = np.full_like(null.tails, pvalue)
    return dataclasses.replace(null, tails=tails, best=np.array([-9.0]))


def foreign_null(index: BruteIndex, num_images: int = 1000, pool: int = 1):
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((num_images, index.num_bits))
    return Calibration.from_logits("", logits).null_for(index, pool)


# Kinds.


def test_own_image_is_given_its_licensee():
    index = make_index()
    verdict = decide(logits_of(index.fingerprints[3], num_wrong=2), index)
    assert (verdict.kind, verdict.is_ours) == ("licensee", True)
    assert (verdict.candidate, verdict.matches) == (103, 62)
    assert (verdict.num_bits, verdict.num_keys, verdict.level) == (64, 20, 1e-6)
    assert verdict.pvalue == verdict.exact_pvalue == match_pvalue(62, 64, 20)
    assert verdict.calibrated_pvalue is None
    assert (verdict.indication, verdict.is_indicated) == (None, False)
    assert not verdict.extrapolated
    assert verdict.confidence == 2.0


def test_foreign_image_is_not_ours():
    index = make_index()
    verdict = decide(np.random.default_rng(7).standard_normal(NUM_BITS), index)
    assert (verdict.kind, verdict.is_ours) == ("not-ours", False)
    assert verdict.pvalue > 1e-6


@pytest.mark.parametrize("fpr", [1e-3, 1e-6, 1e-9])
def test_verdict_turns_exactly_at_the_matches_needed(fpr):
    index = make_index()
    needed = matches_needed(NUM_BITS, len(index), fpr)
    for matches, is_ours in ((needed, True), (needed - 1, False)):
        verdict = decide(logits_of(index.fingerprints[0], 64 - matches), index, fpr=fpr)
        assert (verdict.candidate, verdict.matches) == (100, matches)
        assert verdict.is_ours == is_ours


def test_single_fingerprint_needs_no_margin():
    index = make_index(num_keys=1)
    verdict = decide(logits_of(index.fingerprints[0]), index)
    assert verdict.kind == "licensee"
    assert (verdict.runner_up, verdict.margin, verdict.margin_pvalue) == (None, None, None)
    assert verdict.wrong_name_rate == 0.0


# Margins.


def close_pair(distance: int) -> BruteIndex:
    """Two fingerprints of 64 bits that differ in the first `distance` bits."""
    other = np.zeros(64, dtype=np.uint8)
    other[:distance] = 1
    return BruteIndex(np.stack([np.zeros(64, dtype=np.uint8), other]))


@pytest.mark.parametrize(("distance", "kind"), [(6, "unattributed"), (40, "licensee")])
def test_name_needs_a_lead_over_the_runner_up(distance, kind):
    verdict = decide(logits_of(np.zeros(64)), close_pair(distance))
    assert (verdict.candidate, verdict.runner_up) == (100, 101)
    assert verdict.kind == kind
    assert verdict.margin == distance
    assert verdict.margin_pvalue == 2.0**-distance


@pytest.mark.parametrize("num_wrong", [0, 1, 5, 10])
def test_margin_pvalue_counts_the_bits_in_which_the_two_differ(num_wrong):
    index = close_pair(40)
    verdict = decide(logits_of(np.zeros(64), num_wrong), index)
    assert verdict.margin == 40 - 2 * num_wrong
    assert verdict.margin_pvalue == pytest.approx(
        scipy.stats.binom.sf(40 - num_wrong - 1, 40, 0.5), rel=1e-12
    )
    # Errors where the two agree leave the margin alone.
    elsewhere = logits_of(np.zeros(64))
    elsewhere[50:55] *= -1
    assert decide(elsewhere, index).margin_pvalue == 2.0**-40


def test_margin_level_is_the_limit():
    index = close_pair(24)
    logits = logits_of(np.zeros(64), 4)
    verdict = decide(logits, index)
    assert verdict.kind == "licensee"
    assert verdict.margin_pvalue == pytest.approx(scipy.stats.binom.sf(19, 24, 0.5), rel=1e-12)
    assert decide(logits, index, margin_level=verdict.margin_pvalue).kind == "licensee"
    strict = decide(logits, index, margin_level=verdict.margin_pvalue * 0.999)
    assert (strict.kind, strict.candidate) == ("unattributed", 100)


def test_runner_up_that_passes_as_well_leaves_no_name():
    """14 bits of lead are significant, but 50 of 64 matches pass at 1e-3 too."""
    index = close_pair(14)
    verdict = decide(logits_of(np.zeros(64)), index, fpr=1e-3)
    assert verdict.margin_pvalue == 2.0**-14
    assert match_pvalue(50, 64, 2) <= 1e-3
    assert verdict.kind == "unattributed"
    assert decide(logits_of(np.zeros(64)), index, fpr=1e-6).kind == "licensee"


def test_runner_up_that_passes_without_calibration_only_leaves_the_name():
    index = close_pair(14)
    null = fixed(foreign_null(index), 0.5)
    null.tails[len(null.tails) // 2 :] = 1e-12  # scores beyond 18
    assert match_pvalue(50, 64) > 1e-10  # a score below 7
    strict = fixed(null, 1e-12)
    assert decide(logits_of(np.zeros(64)), index, fpr=1e-3, null=strict).kind == "unattributed"
    null.tails[4 * 64 + 7 * 64 :] = 1e-12
    verdict = decide(logits_of(np.zeros(64)), index, fpr=1e-3, null=null)
    assert (verdict.calibrated_pvalue, verdict.kind) == (1e-12, "licensee")


def test_few_clear_bits_outvote_many_unclear_ones():
    """All bits count alike for the decision by bits alone."""
    index = close_pair(20)
    logits = logits_of(np.zeros(64))
    logits[:3] = -50.0
    logits[3:20] = 0.1
    verdict = decide(logits, index, margin_level=0.2)
    assert (verdict.candidate, verdict.matches, verdict.kind) == (100, 47, "licensee")
    assert (verdict.margin, verdict.runner_up, verdict.decision) == (3 - 17, 101, "soft")
    assert verdict.margin_pvalue == pytest.approx(1 / 8, rel=1e-5)  # three clear bits
    assert verdict.pvalue < match_pvalue(47, 64, 2) / 1000
    verdict = decide(logits, index, decision="bits")
    assert (verdict.candidate, verdict.matches, verdict.margin) == (101, 61, 17 - 3)
    assert verdict.pvalue == match_pvalue(61, 64, 2)
    assert verdict.margin_pvalue == pytest.approx(scipy.stats.binom.sf(16, 20, 0.5), rel=1e-12)
    assert (verdict.kind, verdict.decision) == ("licensee", "bits")


# Calibration.


@pytest.mark.parametrize("num_images", [50, 1000])
def test_matches_are_tested_at_the_whole_rate(num_images):
    """There is no other way to `ours`, with few foreign images or many."""
    index = make_index()
    null = foreign_null(index, num_images)
    needed = matches_needed(NUM_BITS, len(index), 1e-3)
    small = fixed(null, 0.0)
    for matches, is_ours in ((needed, True), (needed - 1, False)):
        logits = logits_of(index.fingerprints[0], 64 - matches)
        verdict = decide(logits, index, fpr=1e-3, null=small)
        assert (verdict.level, verdict.is_ours) == (1e-3, is_ours)
    assert (verdict.indication is None) == (num_images < 100)


def test_pvalue_is_the_larger_of_exact_and_calibrated():
    rng, fingerprints, bias, loadings = unlucky_registry(0)
    index = BruteIndex(fingerprints)
    calibration = Calibration.from_logits("", biased_logits(rng, 2000, bias, loadings))
    null = calibration.null_for(index)
    leaning = logits_of(fingerprints[7], num_wrong=9)
    assert decide(leaning, index).kind == "licensee"  # p 1e-8, which is not true of this registry
    verdict = decide(leaning, index, null=null)
    assert verdict.kind == "not-ours"
    assert verdict.calibrated_pvalue == null.pvalue(binomial_tail(55, 64)) > verdict.exact_pvalue
    assert verdict.pvalue == verdict.calibrated_pvalue
    # Where the calibrated one is the smaller, the exact one stays.
    verdict = decide(leaning, index, null=fixed(null, 1e-12))
    assert verdict.calibrated_pvalue == 1e-12
    assert verdict.pvalue == verdict.exact_pvalue == match_pvalue(55, 64, 20)


def test_extrapolated_is_what_images_cannot_show():
    index = make_index()
    null = foreign_null(index, num_images=1000)
    verdict = decide(logits_of(index.fingerprints[0]), index, null=null)
    assert verdict.kind == "licensee"
    assert verdict.calibrated_pvalue < 1 / 1000
    assert verdict.extrapolated
    verdict = decide(np.random.default_rng(7).standard_normal(64), index, null=null)
    assert verdict.calibrated_pvalue > 1 / 1000
    assert not verdict.extrapolated


@pytest.mark.parametrize("fpr", [1e-6, 0.4])
@pytest.mark.parametrize("size", [3.0, 30.0, 1e6])
def test_confidence_alone_is_never_ours(size, fpr):
    """It is said beside the verdict, in words, and changes nothing in it."""
    index = make_index()
    null = foreign_null(index)
    bits = index.fingerprints[0].copy()
    bits[: NUM_BITS - matches_needed(NUM_BITS, len(index), fpr) + 1] ^= 1  # one too few agree
    for sign in (1, -1):
        verdict = decide(sign * logits_of(bits, size=size), index, fpr=fpr, null=null)
        assert verdict.matches < matches_needed(NUM_BITS, len(index), fpr)
        assert verdict.kind == "not-ours"
        assert verdict.is_indicated
        expected = "more surely read than any of 1000 foreign ones; no evidence"
        assert verdict.indication == expected
        plain = decide(sign * logits_of(bits, size=0.1), index, fpr=fpr, null=null)
        assert (plain.kind, plain.pvalue) == (verdict.kind, verdict.pvalue)
        assert plain.indication == "none: as surely read as 1000 of 1000 foreign ones"


def test_indication_is_a_share_of_one_in_a_hundred():
    index = make_index()
    null = foreign_null(index)
    row = np.random.default_rng(7).standard_normal(NUM_BITS)
    for number, is_indicated in ((10, True), (11, False)):
        sure = null.confidences[-number]
        verdict = decide(row * sure / np.abs(row).mean() * (1 - 1e-12), index, null=null)
        assert (verdict.num_as_sure, verdict.num_foreign) == (number, 1000)
        assert verdict.is_indicated == is_indicated
    assert verdict.indication == "none: as surely read as 11 of 1000 foreign ones"


def test_the_rate_is_kept_with_a_calibration():
    """5,000 fresh foreign images of the biased decoder at 1e-2."""
    rng, fingerprints, bias, loadings = unlucky_registry(1)
    index = BruteIndex(fingerprints)
    null = Calibration.from_logits("", biased_logits(rng, 2000, bias, loadings)).null_for(index)
    fresh = biased_logits(rng, 5000, bias, loadings)
    verdicts = verdict_module.decide(fresh[:, None], index, fpr=1e-2, null=null)
    count = sum(verdict.is_ours for verdict in verdicts)
    worse = scipy.stats.binomtest(count, len(fresh), 1e-2, alternative="greater")
    assert worse.pvalue > 1e-3


# Rates.


@pytest.mark.parametrize("decision", ["soft", "bits"])
@pytest.mark.parametrize("num_views", [1, 3])
@pytest.mark.parametrize("fpr", [1e-2, 1e-1])
def test_foreign_images_are_called_ours_at_the_rate(fpr, num_views, decision):
    """Whatever the views have to do with each other: here two are nearly the same."""
    rng = np.random.default_rng(5)
    index = make_index(num_keys=5)
    logits = rng.standard_normal((3000, num_views, NUM_BITS))
    logits[:, -1] = logits[:, 0] + 0.1 * logits[:, -1]
    views = ("as it is", "mirrored", "other")[:num_views]
    verdicts = verdict_module.decide(logits, index, fpr=fpr, decision=decision, views=views)
    ours = sum(verdict.is_ours for verdict in verdicts)
    assert fpr / 20 < ours / 3000
    assert ours <= scipy.stats.binom.ppf(0.999, 3000, fpr)
    needed = matches_needed(NUM_BITS, 5 * num_views, fpr)
    attained = match_pvalue(needed, NUM_BITS, 5 * num_views)
    assert decision == "soft" or ours <= scipy.stats.binom.ppf(0.999, 3000, attained)


def test_own_images_get_wrong_names_more_rarely_than_stated():
    """Images of fingerprint 0 that can hardly be read, at a rate that wrong names can reach."""
    rng = np.random.default_rng(6)
    wrong = named = 0
    for seed in range(800):
        index = make_index(num_keys=6, num_bits=32, seed=seed)
        own = logits_of(index.fingerprints[0], size=0.3)
        verdict = decide(own + rng.standard_normal(32), index, fpr=0.2, margin_level=0.5)
        named += verdict.kind == "licensee"
        wrong += verdict.kind == "licensee" and verdict.candidate != 100
    assert named > 100
    bound = verdict.wrong_name_rate
    assert bound == pytest.approx(0.2 * 5 / 6)
    assert 0 < wrong <= scipy.stats.binom.ppf(0.999, 800, bound)


def test_impossible_rate_leaves_no_wrong_names():
    index = make_index(num_bits=8)
    verdict = decide(logits_of(index.fingerprints[0]), index)
    assert verdict.kind == "not-ours"
    assert verdict.wrong_name_rate == 0.0


def test_batches_are_corrected_by_bonferroni():
    assert per_image_level(1e-6, None, 1000) == 1e-6
    assert per_image_level(1e-6, 0.01, 1000) == 1e-5
    assert expected_false(1e-6, 5000) == pytest.approx(0.005)
    assert expected_false(per_image_level(1e-6, 0.01, 1000), 1000) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "arguments", [(0.0, None, 1), (1.0, None, 1), (0.1, 1.0, 1), (0.1, 0.5, 0)]
)
def test_impossible_levels_raise(arguments):
    with pytest.raises(ValueError, match="no level for rate"):
        per_image_level(*arguments)


# Pools.


def test_pooled_logits_are_standardised_sums():
    rng = np.random.default_rng(3)
    foreign = np.array([1.0, -2.0]) + np.array([3.0, 0.5]) * rng.standard_normal((500, 2))
    calibration = Calibration.from_logits("", foreign)
    rows = np.array([[4.0, -2.0], [1.0, -1.0], [0.0, 0.0]])[:, None]
    kept = calibration.logits.astype(np.float64)
    expected = ((rows - kept.mean(axis=0)) / kept.std(axis=0)).sum(axis=0)
    assert pool_logits(rows, calibration) == pytest.approx(expected, rel=1e-9)
    assert pool_logits(rows, None).tolist() == [[5.0, -3.0]]


def test_pools_of_the_calibration_are_pooled_alike():
    rng = np.random.default_rng(4)
    calibration = Calibration.from_logits("", rng.standard_normal((40, 8)) + 1)
    pools = calibration.pools(2)
    pairs = [
        pool_logits(calibration.logits[[i, j]], calibration) for i in range(40) for j in range(i)
    ]
    for pool in pools:
        assert min(np.abs(pool - pair).max() for pair in pairs) < 1e-9


@pytest.mark.parametrize("calibrated", [False, True])
def test_pool_of_one_is_the_image(calibrated):
    calibration = Calibration.from_logits("", np.eye(40) + 1) if calibrated else None
    row = np.arange(40.0)[None]
    assert np.array_equal(pool_logits(row[None], calibration), row)


def test_pool_finds_what_single_images_do_not():
    rng = np.random.default_rng(8)
    index = make_index()
    calibration = Calibration.from_logits("", rng.standard_normal((4000, NUM_BITS)))
    own = logits_of(index.fingerprints[4], size=0.4) + rng.standard_normal((10, NUM_BITS))
    null = calibration.null_for(index)
    assert all(decide(row, index, null=null).kind == "not-ours" for row in own)
    pooled_null = calibration.null_for(index, pool=10)
    verdict = decide(pool_logits(own[:, None], calibration)[0], index, null=pooled_null)
    assert (verdict.kind, verdict.candidate) == ("licensee", 104)
    assert decide(pool_logits(own[:, None], None)[0], index).kind == "licensee"


def test_pool_of_foreign_images_that_err_alike_is_no_more_evidence_than_one():
    """A hundred copies of one image: B trials, not a hundred times B."""
    index = make_index()
    row = np.random.default_rng(9).standard_normal(NUM_BITS)
    (pool,) = pool_logits(np.tile(row, (100, 1, 1)), None)
    single, pooled = decide(row, index), decide(pool, index)
    assert pooled.pvalue == single.pvalue
    assert pooled.matches == single.matches


@pytest.mark.parametrize("shape", [(8,), (3, 8), (0, 1, 8)])
def test_pools_of_nothing_raise(shape):
    with pytest.raises(ValueError, match=r"expected logits \[M,K,B\], got"):
        pool_logits(np.zeros(shape), None)


# Refusals.


def test_wrong_arguments_raise():
    index = make_index()
    good = np.ones(NUM_BITS)
    for shape in ((64,), (1, 64), (1, 2, 64), (1, 1, 63)):
        with pytest.raises(ValueError, match=r"expected logits \[M,1,64\], got"):
            verdict_module.decide(np.ones(shape), index)
    assert verdict_module.decide(np.ones((0, 1, 64)), index) == []
    with pytest.raises(ValueError, match="logits are not finite"):
        decide(good * np.nan, index)
    with pytest.raises(ValueError, match="no verdict without a registered fingerprint"):
        decide(good, BruteIndex(np.zeros((0, 64))))
    for fpr in (0.0, 1.0):
        with pytest.raises(ValueError, match=rf"fpr {fpr} is not within \(0, 1\)"):
            decide(good, index, fpr=fpr)


def test_null_of_another_registry_raises():
    """It would leave out fingerprints that were registered since."""
    index = make_index(num_keys=20)
    null = foreign_null(make_index(num_keys=19))
    text = "the null is of 19 fingerprints of 64 bits, the index of 20 of 64"
    with pytest.raises(ValueError, match=text):
        decide(np.ones(NUM_BITS), index, null=null)


def test_null_of_other_views_or_another_decision_raises():
    index = make_index()
    null = foreign_null(index)
    with pytest.raises(ValueError, match="the decision soft, not of .* and bits"):
        decide(np.ones(NUM_BITS), index, null=null, decision="bits")
    with pytest.raises(ValueError, match="the null is of the views"):
        decide(np.ones(NUM_BITS), index, null=null, views=("mirrored",))


# Views.

TWO_VIEWS = ("as it is", "mirrored")


def in_views(*rows: np.ndarray) -> np.ndarray:
    """Logits [1,K,B] of one image."""
    return np.stack(rows)[None]


def test_the_view_that_explains_a_picture_is_named():
    index = make_index()
    own = logits_of(index.fingerprints[3], num_wrong=2)
    other = np.random.default_rng(7).standard_normal(NUM_BITS)
    for rows, view, edit in (
        ((own, other), "as it is", None),
        ((other, own), "mirrored", "mirrored"),
        ((own, own), "as it is", None),  # the first of equal ones
    ):
        (verdict,) = verdict_module.decide(in_views(*rows), index, views=TWO_VIEWS)
        assert (verdict.kind, verdict.candidate, verdict.matches) == ("licensee", 103, 62)
        assert (verdict.view, verdict.edit, verdict.num_views) == (view, edit, 2)
        assert verdict.pvalue == 2 * match_pvalue(62, 64, 20)
        assert verdict.confidence == np.abs(rows[0]).mean()
    (verdict,) = verdict_module.decide(in_views(other, -other), index, views=TWO_VIEWS)
    assert (verdict.kind, verdict.edit) == ("not-ours", None)


def test_another_licensee_in_another_view_leaves_no_name():
    index = make_index()
    own, other = (logits_of(index.fingerprints[row], num_wrong=row) for row in (3, 5))
    (verdict,) = verdict_module.decide(in_views(other, own), index, views=TWO_VIEWS)
    assert (verdict.kind, verdict.candidate, verdict.view) == ("unattributed", 103, "mirrored")
    # The same licensee in both is one name.
    (verdict,) = verdict_module.decide(in_views(own, own * 0.5), index, views=TWO_VIEWS)
    assert verdict.kind == "licensee"


def test_views_are_calibrated_together():
    """Foreign images that lean to one licensee in the second view only."""
    index = make_index()
    rng = np.random.default_rng(3)
    foreign = rng.standard_normal((2000, 2, NUM_BITS))
    foreign[:, 1] += 0.9 * (2.0 * index.fingerprints[7] - 1)
    calibration = Calibration.from_logits("", foreign, views=TWO_VIEWS)
    null = calibration.null_for(index)
    leaning = logits_of(index.fingerprints[7], num_wrong=9)
    for rows in ((leaning, -leaning), (-leaning, leaning)):
        (found,) = verdict_module.decide(in_views(*rows), index, views=TWO_VIEWS)
        assert found.kind == "licensee"
        (found,) = verdict_module.decide(in_views(*rows), index, views=TWO_VIEWS, null=null)
        assert found.kind == "not-ours"
    # Without that view nothing leans.
    plain = calibration.of_views(("as it is",)).null_for(index)
    assert decide(leaning, index, null=plain).kind == "licensee"


def test_many_are_judged_as_one_by_one():
    index = make_index()
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((50, 2, NUM_BITS))
    logits[::5, 1] += 1.5 * (2.0 * index.fingerprints[3] - 1)
    foreign = rng.standard_normal((200, 2, NUM_BITS))
    null = Calibration.from_logits("", foreign, views=TWO_VIEWS).null_for(index)
    together = verdict_module.decide(logits, index, views=TWO_VIEWS, null=null)
    alone = [
        verdict_module.decide(row[None], index, views=TWO_VIEWS, null=null)[0] for row in logits
    ]
    assert together == alone
    assert {verdict.kind for verdict in together} == {"licensee", "not-ours"}


@pytest.mark.parametrize("value", [0.0, 1e-300, 3.0, -1e300])
def test_one_value_for_all_bits_is_nobodys(value):
    """All zeros say nothing at all; a constant is one word like any other."""
    index = make_index()
    verdict = decide(np.full(NUM_BITS, value), index)
    assert verdict.kind == "not-ours"
    assert value or (verdict.pvalue, verdict.margin_pvalue) == (1.0, 1.0)

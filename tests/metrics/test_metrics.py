"""The table of metrics, their evaluation with stand-ins for networks, and the report."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import table
from metrics.context import MetricContext
from metrics.evaluate import check_metrics, evaluate
from metrics.metric import MetricResult
from metrics.report import report
from metrics.table import help_text, make_table, parse_metric, parse_metrics
from metrics.watermark_accuracy import count_matches
from tests.support.fake_metrics import (
    BITS,
    FakeDataset,
    FakeExtractor,
    fake_decode,
    fake_generate,
    fake_generate_pairs,
)
from tests.support.frechet import reference_distance

NAMES = [
    "fid_watermark_accuracy_1k", "watermark_accuracy_2k", "fid1k", "swd1k",
    "fingerprint_visibility1k",
]  # fmt: skip


def reals(num_images: int) -> np.ndarray:
    return np.concatenate([fake_generate(1, 10**6 + i).images_uint8 for i in range(num_images)])


def make_fake_context(num_reals: int = 1500, **changes: Any) -> MetricContext:
    settings = {
        "generate": fake_generate,
        "generate_pairs": fake_generate_pairs,
        "resolution": 16,
        "num_channels": 3,
        "fingerprint_size": BITS,
        "decode": fake_decode,
        "dataset": FakeDataset(reals(num_reals)),
        "inception": FakeExtractor(),
        "minibatch": 300,
        **changes,
    }
    return MetricContext(**settings)


def test_names() -> None:
    for name, num_images in (
        ("fid_watermark_accuracy_30k", 30000), ("watermark_accuracy_1k", 1000),
        ("fid50k", 50000), ("swd2k", 2000), ("fingerprint_visibility3k", 3000),
    ):  # fmt: skip
        metric = parse_metric(name)
        assert (metric.name, metric.num_images) == (name, num_images)
    assert parse_metrics("fid50k, swd1k") == ["fid50k", "swd1k"]
    for nothing in ("none", "None", ""):
        assert parse_metrics(nothing) == []


@pytest.mark.parametrize(
    "name", ["fid", "fid0k", "fid1.5k", "fid50", "swd1kk", "FID1k", "a,", "a,b"]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(UserError, match="unknown metric") as error:
        parse_metrics(name)
    for form in table.FAMILIES:
        assert form in str(error.value)


def test_twice_is_refused() -> None:
    with pytest.raises(UserError, match="fid1k is asked for twice"):
        parse_metrics("fid1k,swd1k,fid1k")
    row = parse_metric("fid1k").family
    with pytest.raises(ValueError, match="two metrics are called fid<n>k"):
        make_table([row, row])


def test_help_names_every_row() -> None:
    for form, family in table.FAMILIES.items():
        assert form in help_text()
        assert family.help in help_text()


def test_all_metrics_share_one_pass(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def generate(num_images: int, first: int) -> Any:
        asked.append((num_images, first))
        return fake_generate(num_images, first)

    context = make_fake_context(generate=generate, cache_dir=tmp_path)
    results = evaluate(NAMES, context)
    assert asked == [(300, first) for first in range(0, 2000, 300)]
    accuracy = [f"_watermark_bit_accuracy{kind}" for kind in ("", "_uint8", "_float")]
    visibility = ["_psnr", "_ssim", "_max", "_latents_psnr"]
    suffixes = [["_fid", *accuracy], accuracy, [""], ["_16", "_avg"], visibility]
    assert [list(result.values) for result in results] == [
        [name + suffix for suffix in row] for name, row in zip(NAMES, suffixes, strict=True)
    ]
    for result in results:
        assert list(result.larger_is_better) == list(result.values)
        for name, larger in result.larger_is_better.items():
            suffix = name.removeprefix(result.metric)
            assert larger == ("bit_accuracy" in suffix or suffix in ("_psnr", "_ssim"))
        assert result.seconds > 0
    # Exactly 1000 images, although batches of 300 do not end there.
    fid = results[2].values["fid1k"]
    assert results[0].values[NAMES[0] + "_fid"] == fid
    assert results[2].details == {"real_images": 1000, "generated_images": 1000}
    assert (
        evaluate(["fid1k"], dataclasses.replace(context, minibatch=300))[0].values["fid1k"] == fid
    )
    assert evaluate([], context) == []


def test_fid_equals_scipy_on_the_first_images() -> None:
    context = make_fake_context()
    assert context.dataset is not None
    real = np.stack(list(context.dataset.images(1000)))
    fake = [fake_generate(300, first).images_uint8 for first in (0, 300, 600, 900)]
    fake = np.concatenate(fake)[:1000]
    real, fake = (FakeExtractor()(images).astype(np.float64) for images in (real, fake))
    expected = reference_distance(
        real.mean(axis=0), np.cov(real.T), fake.mean(axis=0), np.cov(fake.T)
    )
    assert evaluate(["fid1k"], context)[0].values["fid1k"] == pytest.approx(expected, rel=1e-6)


def test_bit_accuracy_counts_what_uint8_holds() -> None:
    (result,) = evaluate(["watermark_accuracy_1k"], make_fake_context(dataset=None, inception=None))
    bits = 1000 * BITS
    # uint8 hides bit 0, which the floats still show.
    assert result.details["bits"] == bits
    assert result.details["matching_bits_float"] == bits
    chance = result.details["matching_bits"] - 1000 * (BITS - 1)
    assert 400 < chance < 600
    share = result.details["matching_bits"] / bits
    assert result.values == {
        "watermark_accuracy_1k_watermark_bit_accuracy": share,
        "watermark_accuracy_1k_watermark_bit_accuracy_uint8": share,
        "watermark_accuracy_1k_watermark_bit_accuracy_float": 1.0,
    }


def test_count_matches() -> None:
    logits = np.array([[-1.0, 2.0, 0.0], [3.0, -0.1, 0.1]])
    assert count_matches(logits, np.array([[0, 1, 0], [0, 1, 1]], np.uint8)) == 4
    with pytest.raises(ValueError, match="do not fit"):
        count_matches(logits, np.zeros([2, 4]))


def test_fewer_reals_and_fewer_than_features(caplog: pytest.LogCaptureFixture) -> None:
    context = make_fake_context(num_reals=8)
    (result,) = evaluate(["fid1k"], context)
    assert result.details["real_images"] == 8
    assert np.isfinite(result.values["fid1k"])
    assert "has 8 images, not 1000; all of them are used" in caplog.text
    assert "8 real and 1000 generated images are fewer than the 12 features" in caplog.text
    caplog.clear()
    evaluate(["fid1k"], make_fake_context())
    assert not caplog.text
    with pytest.raises(UserError, match="has 1 images; FID needs 2"):
        evaluate(["fid1k"], make_fake_context(num_reals=1))


def test_statistics_of_reals_are_kept(tmp_path: Path) -> None:
    extract = FakeExtractor()

    def real_calls(**changes: Any) -> int:
        extract.calls = 0
        context = make_fake_context(inception=extract, cache_dir=tmp_path / "cache", **changes)
        evaluate(["fid1k"], context)
        return extract.calls - 4  # 1000 generated images in batches of 300

    assert real_calls() == 4
    assert real_calls() == 0
    assert real_calls(seed=1) == 0
    assert real_calls(mirror_augment=True) == 4
    assert real_calls(num_reals=1200) == 4
    extract.sha256 = "1" * 64
    assert real_calls() == 4
    for path in (tmp_path / "cache").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:500])
    assert real_calls() == 4  # damaged files are made again
    assert real_calls() == 0


def test_cache_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    evaluate(["fid1k"], make_fake_context(cache_dir=tmp_path / "file" / "cache"))
    assert "are not kept" in caplog.text


def test_mirroring_of_reals() -> None:
    context = make_fake_context(num_reals=40, minibatch=7)
    data = context.dataset.data  # type: ignore[union-attr]
    plain = np.concatenate(list(context.real_batches(40)))
    np.testing.assert_array_equal(plain, data)
    mirrored = dataclasses.replace(context, mirror_augment=True)
    got = np.concatenate(list(mirrored.real_batches(40)))
    flipped = [not np.array_equal(a, b) for a, b in zip(got, data, strict=True)]
    assert 10 < sum(flipped) < 30
    expected = np.where(np.array(flipped)[:, None, None, None], data[:, :, ::-1], data)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got, np.concatenate(list(mirrored.real_batches(40))))


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (["swd1k"], {"dataset": None}, "swd1k needs real images: give --dataset"),
        (["watermark_accuracy_1k"], {"decode": None}, "needs a decoder"),
        (["fid1k"], {"resolution": 32}, "16x16 images of 3 channels, the network makes 32x32"),
        (["fid1k"], {"num_channels": 1}, "of 3 channels, the network makes 16x16 of 1"),
        (["swd1k"], {"resolution": 8}, "at least 16x16, the network makes 8x8"),
        (["fingerprint_visibility1k"], {"resolution": 8}, "at least 11x11, the network makes 8x8"),
        (["fingerprint_visibility1k"], {"generate_pairs": None}, "fingerprints, and the generator"),
        (["fingerprint_visibility1k"], {"fingerprint_size": 0}, "the generator takes none; name"),
    ],
)  # fmt: skip
def test_misfits(names: Sequence[str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_metrics(names, make_fake_context(num_reals=2, **changes))


def test_inception_is_asked_for_early() -> None:
    with pytest.raises(ValueError, match="check_inception"):
        evaluate(["fid1k"], make_fake_context(num_reals=2, inception=None))


def test_report(tmp_path: Path) -> None:
    name = "fid_watermark_accuracy_30k"
    result = MetricResult(
        metric=name,
        values={f"{name}_fid": 11.5, f"{name}_watermark_bit_accuracy": 0.99123},
        larger_is_better={f"{name}_fid": False, f"{name}_watermark_bit_accuracy": True},
        seconds=187.2,
        num_images=30000,
        details={"bits": 64},
        settings={"seed": 3},
    )
    line = report(result, tmp_path, "network-snapshot-000300", {"network": "a.pkl"})
    report(result, tmp_path, "network-snapshot-000450")
    expected = (
        f"network-snapshot-000300{' ' * 8}time 3m 07s{' ' * 7}"
        f"{name}_fid 11.5000{' ' * 4}{name}_watermark_bit_accuracy 0.9912{' ' * 4}"
    )
    assert line == expected
    lines = (tmp_path / f"metric-{name}.txt").read_text().splitlines()
    assert lines == [line, line.replace("300 ", "450 ", 1)]
    first, second = map(json.loads, (tmp_path / f"metric-{name}.jsonl").read_text().splitlines())
    assert first["values"] == result.values
    assert first["larger_is_better"] == result.larger_is_better
    assert first["bits"] == 64
    assert first["settings"] == {"seed": 3, "network": "a.pkl"}
    assert second["snapshot"] == "network-snapshot-000450"
    with pytest.raises(UserError, match="cannot write"):
        report(result, tmp_path / "missing", "x")

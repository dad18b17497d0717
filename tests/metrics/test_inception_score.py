"""Inception Score: known cases, the definition, and the classifier of the graph."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics.feature_extractors import InceptionExtractor
from metrics.inception_score import inception_score
from metrics.table import parse_metric
from tests.support import made_up_inception

RNG = np.random.default_rng(0)


def test_known_cases() -> None:
    clear = np.tile(100.0 * np.eye(5), [20, 1])
    assert inception_score(clear) == pytest.approx((5, 0))  # each class, and clearly
    assert inception_score(np.zeros([100, 5])) == pytest.approx((1, 0))  # nothing is told
    assert inception_score(np.tile(clear[:1], [100, 1])) == pytest.approx((1, 0))  # one class


def test_it_is_the_definition() -> None:
    logits = RNG.normal(size=[30, 7])
    found = []
    for rows in np.split(logits, 3):
        p = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
        found.append(np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()))
    assert inception_score(logits, 3) == pytest.approx((np.mean(found), np.std(found)))


def test_too_few() -> None:
    with pytest.raises(ValueError, match="at least 10 rows"):
        inception_score(np.zeros([9, 5]))


def test_the_graphs_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_inception.write(tmp_path / "graph.pb")
    extractor = InceptionExtractor(tmp_path / "graph.pb")
    features = RNG.normal(size=[3, 2048]).astype(np.float32)
    expected = features @ made_up_inception.weights()["softmax/weights"]
    np.testing.assert_allclose(extractor.classify(features), expected, rtol=1e-5, atol=1e-4)
    monkeypatch.setattr("metrics.feature_extractors.WEIGHTS", "elsewhere")
    with pytest.raises(UserError, match="no classifier"):
        InceptionExtractor(tmp_path / "graph.pb").classify(features)


def test_name() -> None:
    metric = parse_metric("is50k")
    assert metric.num_images == 50_000
    assert metric.family.larger_is_better("_mean")
    assert not metric.family.needs_dataset

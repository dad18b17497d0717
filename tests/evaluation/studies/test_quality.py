"""Quality measures what can be had, and secrecy says what it needs."""

from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.studies.quality import names_of_metrics
from evaluation.studies.secrecy import secrecy
from evaluation.subject.settings import Settings, Skipped


def context(**changes: Any) -> Any:
    nothing = dict.fromkeys(("dataset", "inception", "lite0", "vgg16", "walk"))
    return SimpleNamespace(**nothing | {"resolution": 32} | changes)


def test_what_there_is_decides() -> None:
    bare = ["watermark_accuracy_1k", "fingerprint_visibility1k"]
    assert names_of_metrics(context(), 48) == bare
    assert names_of_metrics(context(resolution=8), 48) == bare[:1]
    assert names_of_metrics(context(dataset="reals"), 3100) == [
        "watermark_accuracy_3k",
        "swd3k",
        "fingerprint_visibility3k",
    ]
    lite0 = names_of_metrics(context(dataset="reals", lite0="network"), 1000)
    assert lite0[-3:] == ["fd_lite0_1k", "kid_lite0_1k", "prdc_lite0_1k"]
    walked = names_of_metrics(context(lite0="network", walk="generator"), 1000)
    assert walked[-2:] == ["ppl_lite0_zfull_1k", "ppl_lite0_wfull_1k"]


@pytest.mark.parametrize("has_classifier", [False, True])
def test_a_score_needs_the_classifier(has_classifier: bool) -> None:
    inception = SimpleNamespace(has_classifier=has_classifier)
    found = names_of_metrics(context(dataset="reals", inception=inception), 1000)
    assert ("is1k" in found) is has_classifier
    assert "fid1k" in found
    assert not [name for name in found if name.startswith("fid_watermark")]


def test_secrecy_says_what_it_needs() -> None:
    with pytest.raises(Skipped, match="--plain"):
        secrecy(None, Settings(), None)  # type: ignore[arg-type]
    other = SimpleNamespace(resolution=64)
    with pytest.raises(Skipped, match="64 pixels"):
        secrecy(SimpleNamespace(resolution=32), Settings(), other)  # type: ignore[arg-type]

"""`verify --report` and `verify-report`."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import run_fingerprints
from dnnlib.errors import UserError
from fingerprints.provenance.case_report import in_plain_words
from tests.support.bulk import Place, make_place


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    place = make_place(tmp_path_factory.mktemp("report"))
    for name in ("signing.key", "other.key"):
        run_fingerprints.main(["keygen", str(place.folder / name)])
    return place


@pytest.fixture(scope="module")
def report(place) -> Path:
    path = place.folder / "case.html"
    flags = [f"--report={path}", f"--report-key={place.folder / 'signing.key'}"]
    run_fingerprints.main([*place.flags("verify"), *flags, str(place.pictures / "00.png")])
    return path


def check(place: Place, path: Path, key: str = "signing.key", *flags: str) -> None:
    public = f"--public-key={place.folder / key}.pub"
    run_fingerprints.main(["verify-report", public, *flags, str(path)])


def test_report_says_it_all(capsys, place, report) -> None:
    capsys.readouterr()
    check(place, report, "signing.key", "--json")
    case = json.loads(capsys.readouterr().out)
    picture = (place.pictures / "00.png").read_bytes()
    assert case["sha256"] == hashlib.sha256(picture).hexdigest()
    assert case["verdict"] == "not-ours"
    assert len(case["model"]) == len(case["decoder"]) == len(case["log_head"]) == 64
    assert case["calibration"] is None
    assert {"gan-fingerprints", "tensorflow"} <= case["versions"].keys()
    check(place, report)
    assert "does not mean that the picture is genuine" in capsys.readouterr().out
    text = report.read_text()
    assert "does not mean that the picture is genuine" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)  # nothing from elsewhere


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<strong>not-ours</strong>", "<strong>licensee</strong>"),
        ('"verdict":"not-ours"', '"verdict":"licensee"'),
        ("</body>", "<p>more</p></body>"),
    ],
)
def test_changed_reports_are_refused(place, report, tmp_path, old, new) -> None:
    text = report.read_text()
    assert old in text
    (tmp_path / "case.html").write_text(text.replace(old, new))
    with pytest.raises(UserError, match="signature does not fit"):
        check(place, tmp_path / "case.html")


def test_other_files_and_keys_are_refused(place, report, tmp_path) -> None:
    with pytest.raises(UserError, match="signature does not fit"):
        check(place, report, "other.key")
    (tmp_path / "a.html").write_text(report.read_text() + "<p>appended</p>")
    for path in (tmp_path / "a.html", place.pictures / "00.png"):
        with pytest.raises(UserError, match="no report"):
            check(place, path)


def test_mistakes(place) -> None:
    key = f"--report-key={place.folder / 'signing.key'}"
    target = f"--report={place.folder / 'never.html'}"
    one = str(place.pictures / "00.png")
    for flags in ([target, key, str(place.pictures)], [target, one], [key, one]):
        with pytest.raises(UserError, match="--report"):
            run_fingerprints.main([*place.flags("verify"), *flags])
    assert not (place.folder / "never.html").exists()


def test_words_of_a_named_licensee() -> None:
    case = {"verdict": "licensee", "licensee": "acme", "name": "Acme", "pvalue": 2e-10}
    case |= {"level": 1e-6, "matches": 32, "num_bits": 32, "num_keys": 7, "calibrated": False}
    case |= {"wrong_name_rate": 8e-7, "edit": "mirrored"}
    text = " ".join(in_plain_words(case))
    for part in ("one in 5.0e+09", "Acme", "8.0e-07", "mirrored", "not who published it"):
        assert part in text

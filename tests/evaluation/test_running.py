"""A suite that is stopped goes on: what has a file is not made again."""

import json

import pytest

from dnnlib.errors import UserError
from evaluation.names import SUITES
from evaluation.running import run_studies
from evaluation.subject.settings import Settings, Skipped
from evaluation.suites import STUDIES, Study, studies_of


def fake(name: str, calls: list[str], fails: type[BaseException] | None = None) -> Study:
    def run(subject, settings, materials):
        calls.append(name)
        if fails is not None:
            raise fails("for a reason")
        return {"number": len(calls)}

    return Study(name, run, ("paper",), 1)


def run(folder, *studies: Study):
    return run_studies(folder, studies, None, Settings(), None)  # type: ignore[arg-type]


def test_it_goes_on(tmp_path) -> None:
    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "x", fake("a", calls), fake("b", calls, KeyboardInterrupt))
    found = run(tmp_path / "x", fake("a", calls), fake("b", calls), fake("c", calls))
    assert calls == ["a", "b", "b", "c"]
    assert [found[name]["values"]["number"] for name in "abc"] == [1, 3, 4]
    assert json.loads((tmp_path / "x" / "c.json").read_text()) == found["c"]


def test_what_cannot_be_made_is_told(tmp_path) -> None:
    found = run(tmp_path, fake("a", [], Skipped), fake("b", []))
    assert found["a"]["skipped"] == "for a reason"
    assert "values" not in found["a"]
    assert "values" in found["b"]


def test_a_damaged_file_is_named(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json.*made anew"):
        run(tmp_path, fake("a", []))


def test_suites_have_studies() -> None:
    assert {suite for study in STUDIES.values() for suite in study.suites} == set(SUITES)
    for suite in SUITES:
        names = [study.name for study in studies_of(suite)]
        assert names[:2] == ["unperturbed", "visibility"]  # which every verdict is about

"""The report: verdict first, needs nothing else, escapes names, and holds the numbers."""

import csv
import json
import re

import pytest

from evaluation.report.document import Evaluated, write_report
from evaluation.report.verdict import borne, verdict
from evaluation.studies.attribution import attribution
from evaluation.studies.robustness import robustness, unperturbed
from evaluation.studies.visibility import visibility
from evaluation.subject.settings import Settings
from tests.support.painted import painted_subject

SETTINGS = Settings(num_images=12)
SHOWN = {"suite": "paper", "num_images": 12, "num_keys": 40, "fpr": 1e-6, "seed": 0}


@pytest.fixture(scope="module")
def results():
    subject = painted_subject()
    values = {
        "unperturbed": unperturbed(subject, SETTINGS),
        "visibility": visibility(subject, SETTINGS),
        "robustness-crop": robustness(subject, SETTINGS, "crop"),
        "robustness-flip": robustness(subject, SETTINGS, "flip"),
        "attribution": attribution(subject, SETTINGS, None),
    }
    found = {
        name: {"study": name, "values": v, "seconds": 1.0, "time": "2026-01-01T00:00:00+00:00"}
        for name, v in values.items()
    }
    return found | {
        "robustness-avif": {
            "study": "robustness-avif",
            "skipped": "no <codec>",
            "seconds": 0.0,
            "time": "2026-01-01T00:00:01+00:00",
        }
    }


def evaluated(name: str, results) -> Evaluated:
    return Evaluated(name, {"network": f"{name}.pkl", "sha256": "ab" * 32, "bits": 64}, results)


def test_verdict_is_three_sentences_with_numbers(results) -> None:
    values = {name: r["values"] for name, r in results.items() if "values" in r}
    saved, bears, shows = verdict(values, SHOWN, 64)
    assert "100.0 % (73.5 to 100.0) are given the name of their licensee among 40" in saved
    assert "not one is given a wrong name" in saved
    assert "still named behind cropping to 0.85 of the side" in bears
    assert "if edits are tried, behind mirroring" in bears
    assert "it changes the picture" in shows
    named = {**values["unperturbed"], "wrong": {"soft": 3}}
    assert "3 are given a wrong name" in verdict({**values, "unperturbed": named}, SHOWN, 64)[0]


def test_borne_ends_at_the_first_failure() -> None:
    def point(strength: float, share: float):
        return {"strength": strength, "named": {"soft": {"value": share}}}

    assert borne([point(1, 1), point(2, 0.96), point(3, 0.9), point(4, 1)], "soft") == 2
    assert borne([point(1, 0.9), point(2, 1)], "soft") is None
    assert borne([point(1, 1)], "soft, light") is None


def test_report(results, tmp_path) -> None:
    sentences = write_report(tmp_path, "paper", [evaluated("a<b", results)], SHOWN, "2026-01-02")
    text = (tmp_path / "report.html").read_text()
    assert text.index(sentences[0]) < text.index("<section")
    assert "a&lt;b" in text
    assert "a<b" not in text
    assert "no &lt;codec&gt;" in text
    # Nothing is fetched: every source is in the file, and the policy forbids the rest.
    sources = re.findall(r'(?:src|href)="([^"#]{0,30})', text)
    assert all(source.startswith("data:image/png;base64,") for source in sources if source)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "var(--c1, #0b63ce)" in text  # drawings follow the page
    assert "ab" * 32 in text
    for point in ("0.695", "0.97", "115 pixels"):  # the paper's figures stand beside
        assert point in text
    numbers = json.loads((tmp_path / "results.json").read_text())["models"][0]["results"]
    assert "pictures" not in numbers["visibility"]["values"]
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    found = {(row["study"], row["figure"]): float(row["value"] == "True" or row["value"])
             for row in rows if row["value"] not in ("True", "False")}  # fmt: skip
    point = results["robustness-crop"]["values"]["points"][3]
    key = ("robustness-crop", "points.0.85.bit_accuracy.value")
    assert found[key] == point["bit_accuracy"]["value"]
    assert (tmp_path / "plots" / "crop.svg").read_text().startswith("<svg")
    assert not (tmp_path / "plots" / "flip.svg").exists()


def test_attacks_are_shown_by_their_aim(results, tmp_path) -> None:
    figures = {"value": 0.25, "low": 0.125, "high": 0.5}
    row = {"needs": "n", "cost": "c", "psnr": 31.25, "bit_accuracy": figures, "named": figures}
    rows = [
        {**row, "kind": "remove", "name": "first", "bar": "kept", "passed": True, "wrong": 0},
        {**row, "kind": "remove", "name": "third", "bar": "other", "passed": True, "wrong": 0},
        {**row, "kind": "forge", "name": "second", "bar": "few", "passed": False, "wrong": 7},
    ]
    made = {**results["unperturbed"], "study": "attack-x", "values": {"rows": rows}}
    found = {name: results[name] for name in ("unperturbed", "visibility")} | {"attack-x": made}
    sentences = write_report(tmp_path, "attacks", [evaluated("m", found)], SHOWN, "2026-01-02")
    assert sentences[1] == "Of 3 attacks it withstands 2, and is beaten by: second."
    text = (tmp_path / "report.html").read_text()
    assert "The model withstands it if: kept." in text
    assert "<p>third: other.</p>" in text
    assert '<span class="bad">beaten</span>' in text
    assert "31.2 dB" in text
    assert "By colluders" not in text
    assert text.index("To remove") < text.index("To forge")
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "### To forge" in lines
    title = lines.index("| attack | needs | cost |  | PSNR | bits | named | others named |")
    assert lines[title + 1] == "|---|---|---|---|--:|--:|--:|--:|"
    assert lines[title + 2] == (
        "| first | n | c | withstood | 31.2 dB | 0.250 | 25.0 % (12.5 to 50.0) | 0 |"
    )
    assert any(line.startswith("| second | n | c | **beaten** | ") for line in lines)


def test_the_report_as_markdown(results, tmp_path) -> None:
    sentences = write_report(tmp_path, "paper", [evaluated("a<|b", results)], SHOWN, "2026-01-02")
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# What a&lt;|b can promise\n\n")
    assert "\n\n".join(sentences) in text
    assert " | 115 pixels | 0.695 | 0.99 | " in text  # the paper's figures
    assert "| a&lt;\\|b | soft | " in text
    assert "base64" not in text
    assert "<svg" not in text


def test_names_out_of_reach(results, tmp_path) -> None:
    """At 1e-6 among 40: 40 / 2^25 is 1.2e-6. Of 64 bits nothing is said."""
    models = [evaluated("long", results), evaluated("short", results)]
    models[1].facts["bits"] = 26  # 40 / 2^26 is 6e-7, ten views have 6e-6
    write_report(tmp_path, "paper", models, SHOWN, "2026-01-02")
    said = [x for x in (tmp_path / "report.md").read_text().splitlines() if "too few" in x]
    assert len(said) == 1
    assert said[0].startswith("short: 26 bits are too few for a name by soft, light, however")
    models[1].facts["bits"] = 25
    write_report(tmp_path, "paper", models, SHOWN, "2026-01-02")
    text = (tmp_path / "report.md").read_text()
    assert text.count("25 bits are too few") == 3
    assert "40 fingerprints agree by chance with 1e-06 of foreign" in text


def test_models_stand_side_by_side(results, tmp_path) -> None:
    models = [evaluated("one", results), evaluated("two", results)]
    sentences = write_report(tmp_path, "paper", models, SHOWN, "2026-01-02")
    assert len(sentences) == 6
    text = (tmp_path / "report.html").read_text()
    assert "one: soft, light" in text
    assert "two: soft, light" in text

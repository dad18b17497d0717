"""Tables that grow: the same rows as JSON lines and as Parquet, whatever stopped the writer."""

import json
from pathlib import Path

import pytest

from dnnlib import growing
from dnnlib.errors import UserError
from dnnlib.growing import JsonLines, ParquetParts

COLUMNS = {
    "file": "text",
    "error": "text",
    "payload": "text",
    "count": "integer",
    "p": "number",
    "ours": "boolean",
    "sure": ["number"],
    "candidates": [{"licensee": "text", "matches": "integer"}],
}
ROWS = [
    {"file": "a.png", "count": 3, "p": 1e-300, "ours": True, "sure": [0.5, 1.0]},
    {"file": "b.png", "error": "cannot be read"},
    {"file": "ü\n.png", "p": None, "candidates": [{"licensee": "acme", "matches": 7}]},
    {"file": "d.png", "count": 0, "ours": False, "candidates": []},
]


def filled(row: dict) -> dict:
    return {name: row.get(name) for name in COLUMNS}


def parquet(path: Path) -> ParquetParts:
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    return ParquetParts(path, COLUMNS)


def test_json_lines_go_on(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for row in ROWS:
        table = JsonLines(path)
        table.add([row])
        table.close()
    table = JsonLines(path)
    assert list(table.rows(list(COLUMNS))) == list(map(filled, ROWS))
    assert list(table.rows(["file"])) == [{"file": row["file"]} for row in ROWS]
    table.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


@pytest.mark.parametrize("cut", [1, 5, 70_000])
def test_half_a_line_is_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.jsonl"
    half = json.dumps({"file": "x" * 80_000})[:cut]
    path.write_text(json.dumps(ROWS[0]) + "\n" + half)
    table = JsonLines(path)
    table.add([ROWS[1]])
    table.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[:2]


def test_half_a_first_line_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"file"')
    JsonLines(path).close()
    assert path.read_bytes() == b""


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("[1]\n")
    with pytest.raises(UserError, match=r"r\.jsonl, line 1: no result of this command"):
        list(JsonLines(path).rows(["file"]))
    with pytest.raises(UserError, match="cannot write .*choose another folder"):
        JsonLines(path / "below.jsonl")


def test_two_writers_are_refused(tmp_path: Path) -> None:
    table = JsonLines(tmp_path / "r.jsonl")
    with pytest.raises(UserError, match="is being written by another command; wait"):
        JsonLines(tmp_path / "r.jsonl")
    table.close()
    JsonLines(tmp_path / "r.jsonl").close()
    parts = parquet(tmp_path / "r.parquet")
    with pytest.raises(UserError, match="is being written by another command; wait"):
        parquet(tmp_path / "r.parquet")
    parts.close()
    parquet(tmp_path / "r.parquet").close()


def test_parquet_has_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_PART_ROWS", 2)
    path = tmp_path / "r.parquet"
    for rows in (ROWS[:1], ROWS[1:]):  # parts of 1, 3
        table = parquet(path)
        for row in rows:
            table.add([row])
        table.close()
    table = parquet(path)
    assert list(table.rows(list(COLUMNS))) == list(map(filled, ROWS))
    assert list(table.rows(["file", "absent"])) == [
        {"file": row["file"], "absent": None} for row in ROWS
    ]
    table.close()
    assert sorted(p.name for p in path.glob("*.parquet")) == [
        "part-00000.parquet", "part-00001.parquet", "part-00002.parquet",
    ]  # fmt: skip


def test_others_read_the_folder_as_one_table(tmp_path: Path) -> None:
    table = parquet(tmp_path / "r.parquet")
    table.add(ROWS[:2])
    table.close()
    table = parquet(tmp_path / "r.parquet")
    table.add(ROWS[2:])
    table.close()
    (tmp_path / "r.parquet" / "_command.json").write_text("{}")
    reader = pytest.importorskip("pyarrow.parquet")
    assert reader.read_table(tmp_path / "r.parquet").to_pylist() == list(map(filled, ROWS))


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    parquet(tmp_path / "r.parquet").close()
    left = tmp_path / "r.parquet" / ".part-00000.parquet.01234567.tmp"
    left.write_bytes(b"PAR1")
    parquet(tmp_path / "r.parquet").close()
    assert not left.exists()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    table = parquet(tmp_path / "r.parquet")
    table.add(ROWS)
    table.close()
    part = tmp_path / "r.parquet" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:50])
    table = parquet(tmp_path / "r.parquet")
    with pytest.raises(UserError, match=r"part-00000\.parquet cannot be read .*delete it"):
        list(table.rows(["file"]))
    table.close()


def test_texts_of_parquet(tmp_path: Path) -> None:
    """Numbers beyond 64 bits, and bytes of names that are no UTF-8."""
    table = parquet(tmp_path / "r.parquet")
    table.add([{"file": "\udcff.png", "payload": 2**70}])
    with pytest.raises(ValueError, match="no column for \\['verdict'\\]"):
        table.add([{"file": "a.png", "verdict": "not-ours"}])
    table.close()
    table = parquet(tmp_path / "r.parquet")
    (row,) = table.rows(["file", "payload"])
    table.close()
    assert row == {"file": "\\udcff.png", "payload": str(2**70)}
    assert growing.unicode("\udcff.png") == row["file"]

"""The registry as a list for other programs: CSV or JSON."""

import csv
import io
import json
from typing import Any

from fingerprints.bits import format_hex
from fingerprints.entries import Model
from fingerprints.registry.facade import Registry

FORMATS = ("csv", "json")


def export_rows(
    registry: Registry, model: Model | None = None, *, include_bits: bool = False
) -> list[dict[str, Any]]:
    """One row per fingerprint, the oldest first, revoked ones too.

    Args:
        registry: what to export.
        model: only its fingerprints.
        include_bits: with the bits as hex digits, so that whoever has the list can copy them.
    """
    names = {licensee.id: licensee.name for licensee in registry.licensees()}
    model_names = {m.id: m.name for m in registry.models()}
    instances: dict[int, list[str]] = {}
    for instance in registry.instances():
        instances.setdefault(instance.fingerprint_id, []).append(instance.instance_hash)
    rows = []
    for fingerprint in registry.fingerprints(model):
        row: dict[str, Any] = {
            "fingerprint_id": fingerprint.id,
            "licensee": fingerprint.licensee,
            "licensee_name": names[fingerprint.licensee],
            "model_hash": fingerprint.model_hash,
            "model_name": model_names[fingerprint.model_id],
            "created": fingerprint.time,
            "revoked": fingerprint.revoked,
            "reason": fingerprint.reason,
            "instances": instances.get(fingerprint.id, []),
        }
        if include_bits:
            row["fingerprint"] = format_hex(fingerprint.bits)
        rows.append(row)
    return rows


def export_text(rows: list[dict[str, Any]], file_format: str) -> str:
    """Rows of `export_rows` as a format of `FORMATS`.

    CSV has a header line if there is any row, nothing for what is absent, and blanks between the
    hashes of several instances.
    """
    if file_format == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if file_format != "csv":
        raise ValueError(f"expected a format of {FORMATS}, got {file_format!r}")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    if rows:
        writer.writeheader()
    writer.writerows({**row, "instances": " ".join(row["instances"])} for row in rows)
    return text.getvalue()

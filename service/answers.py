"""What is answered about a picture: the verdict in numbers and in words, without bits or logits."""

import secrets
from datetime import UTC, datetime
from typing import Any

from dnnlib.format import printable
from fingerprints.detection.detector import Finding
from service.judging import Basis
from service.pictures import Picture
from service.settings import Reveal

# `confidence` is a mean of logits; names are for `reveal`.
HIDDEN = ("confidence", "licensee", "name", "revoked", "images", "distinct")

NOT_OURS_MEANS = (
    "No registered fingerprint fits this picture better than chance allows. That does not mean "
    "that the picture is genuine, nor that no generator made it: it may come from another "
    "generator, or be one of ours in which editing has destroyed the fingerprint."
)
OURS_MEANS = (
    "A registered fingerprint fits this picture better than chance allows: a picture of another "
    "origin would do so with a probability of at most p. It says which generator made the "
    "picture, not who published it, why, or whether anything that it shows is true."
)


def answer_of(
    name: str | None, picture: Picture, finding: Finding, basis: Basis, reveal: Reveal
) -> dict[str, Any]:
    """The answer on one picture.

    Args:
        name: of the file, as its sender calls it.
        picture: as it was read.
        finding: of the detector.
        basis: what it follows from.
        reveal: what is said of whose fingerprint it is.

    Returns:
        JSON values: those of `verify --json` but `HIDDEN`, and what docs/service.md lists.
    """
    values = {key: value for key, value in finding.to_dict().items() if key not in HIDDEN}
    is_ours = finding.verdict.is_ours
    # That there is a name is itself something of whose it is.
    if reveal == "none" and is_ours:
        values |= {"verdict": "ours", "margin": None, "margin_pvalue": None}
    return {
        "id": _new_id(),
        "file": name,
        "sha256": picture.sha256,
        **values,
        **_owner(finding, basis, reveal),
        "text": in_words(finding, reveal),
        "meaning": OURS_MEANS if is_ours else NOT_OURS_MEANS,
        "width": picture.size[0],
        "height": picture.size[1],
        "resized": picture.is_resized,
        "model": basis.model_hash,
        "decoder": basis.decoder_hash,
        "calibration": basis.calibration,
        "calibration_time": basis.calibrated,
        "registry_head": basis.registry_head,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Ids:
    """Random names of 16 hex digits: drawn many at a time, since each call of the system waits."""

    def __init__(self) -> None:
        self._left = ""

    def __call__(self) -> str:
        if not self._left:
            self._left = secrets.token_hex(8 * 512)
        found, self._left = self._left[:16], self._left[16:]
        return found


_new_id = _Ids()


def error_of(name: str | None, reason: str) -> dict[str, Any]:
    """The answer on a file that cannot be read."""
    return {"file": name, "error": printable(reason)}


def in_words(finding: Finding, reveal: Reveal) -> str:
    """One sentence."""
    verdict = finding.verdict
    if not verdict.is_ours:
        return "Not found to be made by this generator."
    edit = "" if verdict.edit is None else f", and then edited ({verdict.edit})"
    text = f"Made by this generator{edit}; p = {verdict.pvalue:.1e}."
    if finding.fingerprint is None or reveal == "none":
        return text
    if reveal == "licensee":
        who = finding.licensee_name or finding.fingerprint.licensee
        text += f" The fingerprint is that of {who}."
    if finding.fingerprint.revoked is not None:
        text += " It has been revoked."
    return text


def _owner(finding: Finding, basis: Basis, reveal: Reveal) -> dict[str, Any]:
    found = finding.fingerprint
    if reveal == "none":
        return {}
    values: dict[str, Any] = {
        "handle": None if found is None else basis.handle_of(found.id),
        "revoked": None if found is None else found.revoked is not None,
    }
    if reveal == "licensee":
        values["licensee"] = None if found is None else found.licensee
        values["name"] = finding.licensee_name
    return values

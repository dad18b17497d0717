"""Evidence on a picture that was just judged: a signed document, made in memory and not kept."""

from collections.abc import Mapping
from typing import Any

from fingerprints.keys import load_signing_key
from fingerprints.provenance.case_report import signed_report
from gan_fingerprints.work.credentials import kind_of
from gan_fingerprints.work.reports import case_of

# What is said of every picture; a report has its own words.
_LEFT_OUT = frozenset(("text", "meaning"))


class Reports:
    """Makes reports and signs them."""

    def __init__(self, key: str) -> None:
        """Reads the private key.

        Args:
            key: file that `keygen` made.

        Raises:
            UserError: it cannot be used.
        """
        self._key = load_signing_key(key)

    def document(self, answer: Mapping[str, Any], content: bytes) -> bytes:
        """A report in HTML, which `verify-report` checks.

        Args:
            answer: on the picture: what it may tell, a report tells, too.
            content: of the picture's file.
        """
        values = {name: value for name, value in answer.items() if name not in _LEFT_OUT}
        return signed_report(case_of(values, content, {}), content, kind_of(content), self._key)

"""Evidence on one picture: a signed document in HTML that needs nothing else to be read.

The last line is a comment with an Ed25519 signature over every byte before it, so what people read
is what was signed. The values are in the document once more, as JSON, for programs.
"""

import base64
import hashlib
import html
import os
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import canonical_json, parse_json
from dnnlib.errors import UserError
from dnnlib.files import read_bytes

_MAX_BYTES = 200_000_000
_SIGNATURE = re.compile(rb"<!-- signature ([0-9a-f]{128}) -->\n")
_DATA = re.compile(rb'<script type="application/json" id="case">(.*?)</script>', re.DOTALL)
_PICTURE = re.compile(rb'<img alt="the picture" src="data:[a-z/]+;base64,([A-Za-z0-9+/=]*)">')
_STYLE = (
    "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 serif}"
    "img{max-width:20rem;border:1px solid}table{border-collapse:collapse}"
    "td,th{border:1px solid;padding:.2rem .5rem;text-align:left}td{overflow-wrap:anywhere}"
)


def write_report(
    path: str | os.PathLike[str],
    case: Mapping[str, Any],
    picture: bytes,
    kind: str,
    key: Ed25519PrivateKey,
) -> None:
    """Writes a report, complete or not at all; see `signed_report`.

    Raises:
        UserError: the file cannot be written.
    """
    with open_atomic(path) as file:
        file.write(signed_report(case, picture, kind, key))


def signed_report(
    case: Mapping[str, Any], picture: bytes, kind: str, key: Ed25519PrivateKey
) -> bytes:
    """A report, as the content of its file.

    Args:
        case: JSON values: of the verdict, `verify --json`; `sha256` of the picture; `versions`;
            hashes of model, decoder, calibration, registry.
        picture: its file, which goes into the document.
        kind: MIME type of the file.
        key: that signs.
    """
    text = _document(case, picture, kind)
    return text + f"<!-- signature {key.sign(text).hex()} -->\n".encode()


def read_report(path: str | os.PathLike[str], key: Ed25519PublicKey) -> dict[str, Any]:
    """The case of a report whose signature fits.

    Raises:
        UserError: it is no report, was changed, is signed by another, or its picture is not the one
            that it speaks of.
    """
    where = os.fspath(path)
    content = read_bytes(path, "the report", _MAX_BYTES)
    text, _, last = content.rpartition(b"<!-- signature ")
    found = _SIGNATURE.fullmatch(b"<!-- signature " + last)
    data, picture = _DATA.search(text), _PICTURE.search(text)
    if found is None or data is None or picture is None:
        raise UserError(f"{where} is no report of verify --report, or a part is missing")
    try:
        key.verify(bytes.fromhex(found[1].decode()), text)
    except InvalidSignature as error:
        raise UserError(
            f"{where}: the signature does not fit; it was changed, or signed with another key: "
            "check --public-key"
        ) from error
    case: dict[str, Any] = parse_json(data[1])
    if hashlib.sha256(base64.b64decode(picture[1])).hexdigest() != case["sha256"]:
        raise UserError(f"{where}: its picture is not the one that it speaks of")
    return case


def in_plain_words(case: Mapping[str, Any]) -> list[str]:
    """What the numbers of a verdict say, for people who do not work with them."""
    p, level = case["pvalue"], case["level"]
    about = f"{case['matches']} of its {case['num_bits']} bits agree"
    one_in = f"one in {1 / p:.1e}" if p > 0 else "less than can be computed"
    if case["verdict"] == "not-ours":
        return [
            f"Of the {case['num_keys']} registered fingerprints, the one that fits best does not "
            f"fit better than chance allows: {about}.",
            f"A picture of another origin fits as well with a probability of {p:.1e}; only at "
            f"{level:.1e} or less is a picture called ours.",
            "This does not mean that the picture is genuine, nor that no generator made it. It may "
            "come from another generator, or be one of ours in which editing has destroyed the "
            "fingerprint.",
        ]
    words = [
        f"A registered fingerprint fits the picture: {about}, of {case['num_keys']} fingerprints "
        "that were compared.",
        f"If the picture had another origin, a fit as good as this would come about in at most "
        f"{one_in} pictures (p = {p:.1e}). The limit that was set beforehand is {level:.1e}.",
    ]
    if case["verdict"] == "licensee":
        words.append(
            f"The fingerprint is that of {_owner(case)}. A picture of ours "
            f"is given a wrong name with a probability of at most {case['wrong_name_rate']:.1e}."
        )
    elif case["verdict"] == "ours, unattributed":
        words.append("Whose copy of the generator made it cannot be told for sure.")
    if not case["calibrated"]:
        words.append(
            "The probability is exact for fingerprints drawn at random; it was not compared with "
            "foreign pictures."
        )
    if case.get("edit"):
        words.append(f"The picture was edited before: {case['edit']}.")
    return [
        *words,
        "It tells which generator made the picture: not who published it, why, or whether what it "
        "shows is true.",
    ]


def _owner(case: Mapping[str, Any]) -> str:
    """Whose fingerprint it is: as much of it as the case tells."""
    return str(case.get("name") or case.get("licensee") or case["handle"])


def _document(case: Mapping[str, Any], picture: bytes, kind: str) -> bytes:
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in case.items()
    )
    words = "".join(f"<p>{html.escape(text)}</p>" for text in in_plain_words(case))
    # Within a script element only "</" and "<!--" could end it.
    data = canonical_json(dict(case)).replace("<", "\\u003c")
    encoded = base64.b64encode(picture).decode()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Report on a picture</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Report on a picture</h1>\n<p>Verdict: <strong>{html.escape(case['verdict'])}</strong>"
        f'</p>\n<img alt="the picture" src="data:{kind};base64,{encoded}">\n{words}\n'
        f"<table>{rows}</table>\n"
        "<p>The last line of this file is a signature over all above; verify-report checks it."
        "</p>\n"
        f'<script type="application/json" id="case">{data}</script>\n</body></html>\n'
    ).encode("utf-8", "surrogatepass")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)

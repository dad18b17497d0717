"""The files of a request, in memory only and no larger than they may be."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from service.settings import Limits

_OVERHEAD = 4096  # bytes of a part's own headers
_MAX_JSON = 100_000


@dataclass(frozen=True)
class Upload:
    """A file as it was sent."""

    name: str | None
    content: bytes = field(repr=False)


async def read_files(request: Request, limits: Limits) -> list[Upload]:
    """The parts called `files` of a multipart request.

    Raises:
        HTTPException: 400 for what is no such request, 413 for too much, 415 for another kind.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HTTPException(415, "send multipart/form-data with one or more parts named files")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise HTTPException(400, "this is no multipart form: its boundary is missing or too long")
    body = await read_body(request, limits.max_files * (limits.max_bytes + _OVERHEAD))
    uploads = []
    for head, content in _parts(body, boundary, limits.max_files):
        _, about = parse_options_header(head)
        name = about.get(b"name", b"").decode("utf-8", "replace")
        if name != "files" or b"filename" not in about:
            raise HTTPException(400, f"expected files in parts named files, got {name[:40]!r}")
        if len(content) > limits.max_bytes:
            raise HTTPException(413, f"a file has more than {limits.max_bytes} bytes")
        uploads.append(Upload(_shown(about[b"filename"].decode("utf-8", "replace")), content))
    if not uploads:
        raise HTTPException(400, "no file in the request; name the parts files")
    return uploads


def _parts(body: bytes, boundary: bytes, most: int) -> Iterator[tuple[bytes, bytes]]:
    """What a multipart body consists of (RFC 7578): content-disposition and content of each part.

    The body is in memory as a whole, so that a search for the boundary is all there is to do; the
    state machines that read a stream take ten times as long for small pictures.

    Raises:
        HTTPException: 400 for what is no such body, 413 for more than so many parts.
    """
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 2)
    for number, piece in enumerate(pieces[1:]):
        if piece.startswith(b"--"):
            return
        if number == most:
            raise HTTPException(413, f"Too many files: more than {most}")
        head, found, content = piece.partition(b"\r\n\r\n")
        fields = dict(line.partition(b":")[::2] for line in head.split(b"\r\n")[1:])
        fields = {name.strip().lower(): value.strip() for name, value in fields.items()}
        if not found or len(head) > _OVERHEAD or b"content-disposition" not in fields:
            break
        yield fields[b"content-disposition"], content
    raise HTTPException(400, "this is no multipart form, or it is cut off")


async def read_small(request: Request) -> bytes:
    """The body of a request that holds a little JSON.

    Raises:
        HTTPException: 413 if it is not little.
    """
    return b"".join([piece async for piece in _limited(request, _MAX_JSON)])


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request that is a file.

    Raises:
        HTTPException: 413 if it has more than so many bytes.
    """
    return b"".join([piece async for piece in _limited(request, most)])


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body, as long as it is not too long; what a header claims is looked at first."""
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed) > most:
        raise HTTPException(413, f"the request has more than {most} bytes")
    seen = 0
    try:
        async for piece in request.stream():
            seen += len(piece)
            if seen > most:
                raise HTTPException(413, f"the request has more than {most} bytes")
            yield piece
    except ClientDisconnect as error:
        raise HTTPException(400, "the sender has gone") from error


def _shown(name: str | None) -> str | None:
    """A file's name as it is given back: short, and without folders."""
    return None if not name else name.replace("\\", "/").rpartition("/")[2][:200]

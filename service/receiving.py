"""The files of a request, in memory only and no larger than they may be."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.settings import Limits

_OVERHEAD = 4096  # bytes of a part's own headers
_MAX_JSON = 100_000


@dataclass(frozen=True)
class Upload:
    """A file as it was sent."""

    name: str | None
    content: bytes = field(repr=False)


class _InMemory(MultiPartParser):
    """Files never touch the disk: there is no size from which they would."""

    spool_max_size = 2**40


async def read_files(request: Request, limits: Limits) -> list[Upload]:
    """The parts called `files` of a multipart request.

    Raises:
        HTTPException: 400 for what is no such request, 413 for too much, 415 for another kind.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(415, "send multipart/form-data with one or more parts named files")
    most = limits.max_files * (limits.max_bytes + _OVERHEAD)
    stream = _limited(request, most)
    parser = _InMemory(
        request.headers, stream, max_files=limits.max_files, max_fields=8, max_part_size=_OVERHEAD
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        is_many = "Too many" in error.message
        raise HTTPException(413 if is_many else 400, error.message) from error
    except (KeyError, UnicodeError, ValueError) as error:
        raise HTTPException(400, "this is no multipart form") from error
    try:
        uploads = []
        for name, part in form.multi_items():
            if name != "files" or not isinstance(part, UploadFile):
                raise HTTPException(400, f"expected parts named files, got {name[:40]!r}")
            content = await part.read()
            if len(content) > limits.max_bytes:
                raise HTTPException(413, f"a file has more than {limits.max_bytes} bytes")
            uploads.append(Upload(_shown(part.filename), content))
    finally:
        await form.close()
    if not uploads:
        raise HTTPException(400, "no file in the request; name the parts files")
    return uploads


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

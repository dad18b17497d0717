"""Requests to a service on this machine: many clients at once, each on a connection of its own.

A client of plain asyncio that does as little as it can, so that what is measured is the service. It
speaks only what the service answers with: HTTP/1.1 with a Content-Length.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"  # load is for this machine alone
_BOUNDARY = "one-picture-after-the-other"


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        number: of the request, as it was asked for.
        status: of HTTP; 0 if the connection was refused or broke: an error that the client sees.
        seconds: from the first byte that was sent to the last that came.
    """

    number: int
    status: int
    seconds: float
    body: bytes = field(repr=False)


def verify_request(contents: Sequence[bytes]) -> bytes:
    """A whole `POST /v1/verify` with some pictures."""
    parts = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%d.png"\r\n'
        b"Content-Type: image/png\r\n\r\n%s\r\n" % (_BOUNDARY.encode(), number, content)
        for number, content in enumerate(contents)
    )
    body = parts + f"--{_BOUNDARY}--\r\n".encode()
    head = (
        f"POST /v1/verify HTTP/1.1\r\nHost: {HOST}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get_request(path: str) -> bytes:
    """A whole `GET`."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode()


class Client:
    """One connection, made when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, number: int, request: bytes) -> Reply:
        """Sends a request and waits for its answer."""
        start = time.perf_counter()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(HOST, self._port)
            reader, writer = self._streams
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _length(head)
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Reply(number, 0, time.perf_counter() - start, b"")
        if b"connection: close" in head.lower():
            self.close()
        return Reply(number, int(head[9:12]), time.perf_counter() - start, body)

    def close(self) -> None:
        """Gives the connection up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise OSError("an answer without Content-Length")


async def ask_all(
    port: int,
    requests: Iterable[tuple[int, bytes]],
    num_clients: int,
    on_reply: Callable[[Reply], None],
    *,
    pause: float = 0.0,
) -> None:
    """Asks everything; each client sends its next request when the last one is answered.

    Args:
        port: of the service.
        requests: numbers and `verify_request`s; taken one by one.
        num_clients: at the same time.
        on_reply: told every reply, in the order in which they come.
        pause: seconds that a client waits between two requests; after a refused connection or one
            that broke it waits 50 ms at least.
    """
    waiting: Iterator[tuple[int, bytes]] = iter(requests)

    async def work() -> None:
        client = Client(port)
        for number, request in waiting:
            reply = await client.ask(number, request)
            on_reply(reply)
            wait = pause if reply.status else max(pause, 0.05)
            if wait:
                await asyncio.sleep(wait)
        client.close()

    await asyncio.gather(*(work() for _ in range(num_clients)))

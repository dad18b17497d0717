"""A page in a real browser: Debian's chromium, driven by selenium."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an application that runs in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def find(browser: Any, selector: str) -> Any:
    """The first element of a CSS selector."""
    return browser.find_element("css selector", selector)


def wait_for(check: Any, seconds: float = 60) -> None:
    """Until something holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def choose(browser: Any, *paths: Path, cards: int) -> list[Any]:
    """Chooses files as a user does; the cards that are there then."""
    find(browser, "#choose").send_keys("\n".join(map(str, paths)))
    wait_for(lambda: len(browser.find_elements("css selector", ".card")) == cards)
    wait_for(lambda: "done" in find(browser, "#status").text)
    return browser.find_elements("css selector", ".card")

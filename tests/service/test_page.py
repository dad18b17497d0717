"""The page in a real browser: Debian's chromium, driven by selenium."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from service.app import create_app
from service.main import settings_of
from tests.support.bulk import Place
from tests.support.service import arguments, make_judging, picture_of, png

webdriver = pytest.importorskip("selenium.webdriver", reason="the page's tests need selenium")

pytestmark = pytest.mark.slow  # a browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def address(template: Place) -> Iterator[str]:
    """Of a service in a thread of this process."""
    args = arguments(template, "--max-files=4", "--max-bytes=20000")
    app = create_app(make_judging(args), settings_of(args))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        reason = "no chromium or chromedriver here (Debian: apt install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tmp_path_factory.mktemp("profile")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "lang=en-US", "no-first-run"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder}")
    options.add_argument("--disable-dev-shm-usage")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, fresh; nothing may have gone wrong in it by the end."""
    browser.set_window_size(1200, 900)
    browser.get(address)
    wait_for(lambda: find(browser, "h1").text)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def wait_for(check: Any, seconds: float = 30) -> None:
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


@pytest.fixture
def pictures(template: Place, tmp_path: Path) -> list[Path]:
    """One of ours, a foreign one, and none at all, under names that a page might stumble over."""
    contents = {
        "ours.png": picture_of(template, "licensee-2"),
        "<img src=x onerror=alert(1)>.png": png(np.ones((8, 8))),
        "none.png": b"no picture",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def test_verdicts(page: Any, pictures: list[Path]) -> None:
    bad, foreign, ours = choose(page, *pictures, cards=3)  # the newest is first
    assert "Made by this generator" in ours.text
    assert "ours.png" in ours.text
    assert "fp-" in ours.text
    assert "Not found" in foreign.text
    assert "does not mean that the picture is genuine" in foreign.text
    assert "<img src=x onerror=alert(1)>.png" in foreign.text  # as text
    assert "cannot be read" in bad.text
    marks = [float(find(card, ".mark").get_property("offsetLeft")) for card in (foreign, ours)]
    assert marks[0] < marks[1]
    find(ours, "summary").click()
    assert '"verdict": "licensee"' in find(ours, "pre").text


def test_languages(page: Any, pictures: list[Path]) -> None:
    choose(page, pictures[1], cards=1)
    find(page, "#language option[value=de]").click()
    assert find(page, "h1").text == "Ist dieses Bild von uns?"
    assert "heißt nicht, dass das Bild echt ist" in find(page, ".card").text
    assert find(page, "html").get_attribute("lang") == "de"


def test_keyboard_alone(page: Any) -> None:
    """What can be clicked is reached by Tab, and shows that it is."""
    keys = webdriver.common.keys.Keys
    reached = []
    for _ in range(4):
        webdriver.ActionChains(page).send_keys(keys.TAB).perform()
        element = page.switch_to.active_element
        reached.append(element.get_attribute("id") or element.get_attribute("class"))
    assert reached[:3] == ["skip", "language", "choose"]


def test_names_for_screen_readers(page: Any, pictures: list[Path]) -> None:
    choose(page, pictures[0], cards=1)
    assert find(page, "#choose").accessible_name == "Choose pictures"
    assert find(page, "#language").accessible_name == "Language"
    scale = find(page, ".scale")
    assert scale.aria_role in ("img", "image")
    assert "limit" in scale.accessible_name
    assert find(page, "#cards").accessible_name == "Results"
    assert find(page, "#status").get_attribute("role") == "status"


def test_pasted_and_dropped(page: Any) -> None:
    script = """
        const [kind, bytes] = arguments;
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'a.png', {type: 'image/png'}));
        const event = kind === 'paste'
            ? new ClipboardEvent('paste', {clipboardData: data})
            : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
        document.dispatchEvent(event);
    """
    content = list(png(np.ones((8, 8))))
    for number, kind in enumerate(("paste", "drop"), 1):
        page.execute_script(script, kind, content)
        wait_for(lambda n=number: len(page.find_elements("css selector", ".card")) == n)


def test_phone(page: Any, pictures: list[Path]) -> None:
    """Nothing is wider than a phone."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        choose(page, *pictures, cards=3)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Any, pictures: list[Path], scheme: str) -> None:
    """Texts stand out as WCAG's level AA asks, 4.5 to 1."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    choose(page, *pictures, cards=3)
    back = luminance(find(page, "body").value_of_css_property("background-color"))
    assert (back > 0.5) == (scheme == "light")
    card = luminance(find(page, ".card").value_of_css_property("background-color"))
    for selector in (".card h2", ".card.ours .verdict", ".meaning", ".chance", "dt", "footer a"):
        text = luminance(find(page, selector).value_of_css_property("color"))
        for ground in (back, card):
            ratio = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
            assert ratio >= 4.5, (selector, ratio)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2, of `rgb(a)(r, g, b...)`."""
    values = [float(x) / 255 for x in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_too_large(browser: Any, address: str, tmp_path: Path) -> None:
    """What the service refuses is told; the browser's own log of it is expected."""
    browser.get(address)
    (tmp_path / "large.png").write_bytes(bytes(30_000))
    find(browser, "#choose").send_keys(str(tmp_path / "large.png"))
    wait_for(lambda: "more than 20000 bytes" in find(browser, "#problem").text)
    browser.get_log("browser")

"""The report in a real browser: what it draws, what it asks for, what it complains of."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ragtune.evaluation.report import write_report
from ragtune.evaluation.results import Evaluation

SCHEMES = {"dark": 0, "light": 1}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def browser() -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")


def opened(browser: str, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    profile = page.parent / "profile"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", *options,
        page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.fixture(params=["en", "zh"])
def page(request: pytest.FixtureRequest, evaluation: Callable[[str], Evaluation], tmp_path: Path) -> Path:
    write_report(evaluation(request.param), tmp_path / "report.html")
    return tmp_path / "report.html"


def test_light_and_dark_are_drawn_each_in_its_colours(browser: str, page: Path) -> None:
    pixels = {}
    for scheme, number in SCHEMES.items():
        shot = page.with_name(f"{scheme}.png")
        opened(browser, page, f"--blink-settings=preferredColorScheme={number}", f"--screenshot={shot}")
        with Image.open(shot) as image:
            pixels[scheme] = np.asarray(image.convert("L"), dtype=np.float64)
    assert pixels["light"][5, 5] > 230 and pixels["dark"][5, 5] < 40
    for scheme in SCHEMES:
        paper = pixels[scheme][5, 5]
        assert np.mean(np.abs(pixels[scheme] - paper) > 40) > 0.01, f"{scheme}: nothing stands out from the paper"


def asked_and_complained(browser: str, page: Path) -> tuple[set[str], bool]:
    """The addresses that the page itself asks for (the browser's own requests have no origin), and console lines."""
    net_log = page.with_name("net.json")
    done = opened(browser, page, "--enable-logging=stderr", "--dump-dom", f"--log-net-log={net_log}")
    events = json.loads(net_log.read_text(encoding="utf-8"))["events"]
    params = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return {each["url"] for each in params if each["initiator"] != "not an origin"}, "CONSOLE" in done.stderr


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: str, page: Path) -> None:
    assert asked_and_complained(browser, page) == (set(), False)


def test_a_page_that_asks_and_complains_is_found_out(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="https://example.org/a.png"><script>console.error("x")</script>', encoding="utf-8")
    assert asked_and_complained(browser, page) == ({"https://example.org/a.png"}, True)


def test_the_texts_are_in_the_document(browser: str, page: Path, request: pytest.FixtureRequest) -> None:
    document = opened(browser, page, "--dump-dom").stdout
    wanted = {"en": "Revenue was $383 billion &lt;script&gt;", "zh": "公司在2023财年实现净利润383亿元"}
    assert wanted[request.node.callspec.params["page"]] in document
    assert document.count("<svg") == 3

"""Drives the page of predictions in headless Chromium, as a user does."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1280,900"
)


def start_browser(profile: Path) -> webdriver.Chrome:
    """A browser with an empty profile in the new folder ``profile``."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS.split(), f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(DRIVER, log_output=os.devnull)
    return webdriver.Chrome(options=options, service=service)


class Page:
    """What a user does with the page and sees on it."""

    def __init__(self, driver: webdriver.Chrome, output: Path) -> None:
        self.driver = driver
        self.url = f"file://{quote(str(output / 'index.html'))}"

    def open(self, fragment: str = "", width: int = 1280, height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get("about:blank")  # else a new fragment alone would not reload the page
        self.requested()
        self.driver.get(self.url + fragment)

    def open_scan(self, scan: str, **size: int) -> None:
        self.open(f"#scan={quote(scan, safe='')}", **size)
        self.wait_until(lambda: self.shown_slice() is not None)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, selector)]

    def run(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def wait_until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda _: condition())

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def touch(self, kind: str, *place: float) -> None:
        points = [dict(zip("xy", place, strict=True))] if place else []
        event = {"type": kind, "touchPoints": points}
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def shown_slice(self) -> int | None:
        """Number, from 1, of the slice whose image is on the screen."""
        return self.run(
            "const image = document.querySelector('.stage:not([aria-busy]) img[data-slice]');"
            "return image && image.naturalWidth ? Number(image.dataset.slice) + 1 : null"
        )

    def wait_for_slice(self, wanted: int) -> None:
        self.wait_until(lambda: self.shown_slice() == wanted)

    def requested(self) -> list[str]:
        """URLs that the browser requested since the last call, relative to the page's folder."""
        urls = [
            message["params"]["request"]["url"]
            for entry in self.driver.get_log("performance")
            if (message := json.loads(entry["message"])["message"])["method"]
            == "Network.requestWillBeSent"
        ]
        base = self.url.removesuffix("index.html")
        return [unquote(url.removeprefix(base)) for url in urls if not url.startswith("data:")]

    def facts(self) -> dict[str, str]:
        names, values = self.texts("#facts dt"), self.texts("#facts dd")
        return dict(zip(names, values, strict=True))

    def names(self) -> list[str]:
        return self.texts("#scans td:first-child")

"""Chromium without a screen, driven by selenium."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.counterparts.conftest import library, program
from tests.processes import PATIENCE

webdriver = library("selenium.webdriver")
CHROMIUM, CHROMEDRIVER = program("chromium"), program("chromedriver")
# Another name for here; the rest of the world is not to be found.
HOSTS = "MAP site.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
FLAGS = (
    "--headless",
    "--no-sandbox",  # root cannot have one, and all the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    f"--host-resolver-rules={HOSTS}",
)


@contextmanager
def started(home: Path) -> Iterator[Any]:
    """One window, with a profile of its own, which ends with the `with`."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.ChromeService(CHROMEDRIVER, env={**os.environ, "HOME": str(home)})
    browser = webdriver.Chrome(options, driver)
    try:
        browser.set_page_load_timeout(PATIENCE)
        browser.set_script_timeout(PATIENCE)
        yield browser
    finally:
        browser.quit()

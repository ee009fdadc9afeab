"""Firefox, driven by its own protocol (Marionette): a page is opened, and asked what it sees.

Rule: the protocol is JSON with its length before it, over a port that Firefox chooses. Each call
has one answer or raises `WebDriverError`.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

PATIENCE = 60  # seconds; the first start makes a profile
PREFERENCES = {
    "marionette.port": 0,  # any free one, which it writes into a file of its profile
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}


class WebDriverError(Exception):
    """What Firefox says instead of a result: `error` is its code."""

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        super().__init__(error, message)


class Firefox:
    """One window."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._number = 0
        self._receive()  # the greeting
        self._call("WebDriver:NewSession", unhandledPromptBehavior="ignore")
        self._call("WebDriver:SetTimeouts", pageLoad=1000 * PATIENCE, script=1000 * PATIENCE)

    def get(self, address: str) -> None:
        """Open a page. Raises WebDriverError."""
        self._call("WebDriver:Navigate", url=address)

    def execute_script(self, script: str) -> Any:
        """What the script returns. Raises WebDriverError."""
        return self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]

    def asks(self) -> bool:
        """Whether a window of the browser's own is open, such as that for a password."""
        try:
            self._call("WebDriver:GetAlertText")
        except WebDriverError as error:
            if error.error != "no such alert":
                raise
            return False
        return True

    @classmethod
    @contextmanager
    def started(cls, program: str, directory: Path) -> Iterator["Firefox"]:
        """A Firefox without a screen, with a profile of its own, which ends with the `with`."""
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in PREFERENCES.items()
        ]
        (directory / "user.js").write_text("\n".join(lines))
        flags = "--headless", "--no-remote", "--marionette"
        with subprocess.Popen(
            [program, *flags, "--profile", str(directory)],
            env={**os.environ, "HOME": str(directory), "MOZ_CRASHREPORTER_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                address = "127.0.0.1", _port(directory / "MarionetteActivePort", process)
                with socket.create_connection(address, PATIENCE) as connection:
                    yield cls(connection)
            finally:
                process.kill()

    def dismiss(self) -> None:
        """Close that window, as often as it comes."""
        while self.asks():
            self._call("WebDriver:DismissAlert")

    def _call(self, name: str, **parameters: object) -> Any:
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._stream.write(str(len(text)).encode() + b":" + text)
        self._stream.flush()
        _, number, error, result = self._receive()
        assert number == self._number
        if error:
            raise WebDriverError(error["error"], error["message"])
        return result

    def _receive(self) -> Any:
        digits = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox has gone"
            digits += byte
        return json.loads(self._stream.read(int(digits)))


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        assert process.poll() is None, "Firefox did not start"
        if file.exists() and (text := file.read_text().strip()):
            return int(text)
        sleep(0.05)
    raise AssertionError("Firefox said no port")

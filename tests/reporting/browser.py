"""Headless Chromium for tests, spoken to over its debugging pipe: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The path of Chromium, None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page of a Chromium of its own.

    Attributes:
        errors: every exception, console error, blocked or failed request since the page was opened.
        requests: the addresses the page asked for.
    """

    def __init__(self, patience: float = 120.0) -> None:
        chromium = find_chromium()
        assert chromium is not None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._patience, self._count, self._answers, self._buffer = patience, 0, {}, b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "chromium", chromium, *FLAGS, f"--user-data-dir={self._profile.name}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(
        self,
        page: Path | str,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        phone: bool = False,
        fragment: str = "",
    ) -> float:
        """Open a file or address, wait until the report has drawn itself, and return the seconds that took."""
        self.resize(width, height, phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # else another fragment would not load it anew
        self.errors.clear()
        self.requests.clear()
        started = time.perf_counter()
        address = page if isinstance(page, str) else page.resolve().as_uri()
        self.call("Page.navigate", url=address + fragment)
        self.wait("document.documentElement?.dataset.ready === 'true'")
        return time.perf_counter() - started

    def processor_seconds(self, page: Path) -> float:
        """Processor time that the page's main thread takes to open it, whatever else the machine does."""
        self._trace: list[dict[str, Any]] = []
        self._send("Tracing.start", categories="toplevel", transferMode="ReportEvents")
        self.open(page)
        self._traced = False
        self._send("Tracing.end")
        while not self._traced:
            self._read()
        threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in self._trace if e["name"] == "thread_name"}
        tasks = [e for e in self._trace if e["name"] == "ThreadControllerImpl::RunTask" and e["ph"] == "X"]
        own = [e for e in tasks if threads.get((e["pid"], e["tid"])) == "CrRendererMain"]
        return sum(task.get("tdur", 0) for task in own) / 1e6

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        """Set the viewport, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition holds."""
        deadline = time.monotonic() + self._patience
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} never held; errors: {self.errors}")
            time.sleep(0.02)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something outside the page has happened."""
        deadline = time.monotonic() + self._patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it never happened; errors: {self.errors}")
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", answer))
        return answer["result"].get("value")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Save what the page looks like, all of it or the visible part."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def choose(self, selector: str, *paths: Path) -> None:
        """Choose files, or a folder, in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path.resolve()) for path in paths])

    def drop(self, *paths: Path) -> None:
        """Drop files or folders into the middle of the page."""
        data = {"items": [], "files": [str(path.resolve()) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=400, y=300, data=data)

    def pdf(self, path: Path) -> None:
        """Print the page to A4, as a reader would."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=False)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, on the page."""
        return self._send(method, self._session, **parameters)

    def close(self) -> None:
        """End the browser."""
        self._send("Browser.close")
        self._process.wait(timeout=self._patience)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while self._count not in self._answers:
            self._read()
        answer = self._answers.pop(self._count)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self) -> None:
        ready, _, _ = select.select([self._in], [], [], self._patience)
        data = os.read(self._in, 1 << 20) if ready else b""
        if not data:
            raise TimeoutError(f"chromium does not answer (exit code {self._process.poll()})")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Tracing.dataCollected":
            self._trace += about["value"]
        elif event == "Tracing.tracingComplete":
            self._traced = True
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(about["exceptionDetails"].get("exception", about["exceptionDetails"])))
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert", "warning"):
            self.errors.append(f"console.{about['type']}: {about['args']}")
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

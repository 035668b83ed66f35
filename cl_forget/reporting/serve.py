"""A report that keeps up with runs and sweeps under way: one page on this machine, built again when files change.

The page asks for `/status` every few seconds and loads itself anew when there is something new to show; what
the reader has chosen stands in the address and survives. Nothing but this machine can reach it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cl_forget.errors import UserError
from cl_forget.reporting._open import is_sweep, specify_folders
from cl_forget.reporting.html import page

WATCHED = ("result.json", "trial.json")
_WAITING = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>cl-forget</title>
<meta http-equiv="refresh" content="3"><style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;
max-width:40rem;padding:0 20px}}small{{color:GrayText}}</style><h1>Waiting for the first result</h1><p>{reason}</p>
<p><small>{progress}</small></p></html>"""


class LiveReport:
    """The page on some folders, as of now.

    Args:
        paths: run folders, folders that hold some, or sweeps.
        title: of the page.

    Raises:
        UserError: a folder does not exist.
    """

    def __init__(self, paths: Sequence[Path], title: str | None = None) -> None:
        for path in paths:
            if not path.exists():
                raise UserError(f"no folder {path}: give the folder that a run or a sweep writes to.")
        self.paths, self.title = list(paths), title
        self._lock, self._built = threading.Lock(), ("", "")

    def version(self) -> str:
        """Another one whenever a result or a trial's record has changed."""
        stats = [
            (str(file), file.stat().st_mtime_ns) for path in self.paths for file in _files(path, WATCHED)
        ]
        return f"{len(stats)}-{hash(tuple(sorted(stats))):x}"

    def html(self) -> str:
        """The page; before there is a result, or where it cannot be built, the reason why."""
        with self._lock:
            version = self.version()
            if self._built[0] != version:
                self._built = version, self._render(version)
            return self._built[1]

    def progress(self) -> str:
        """What is running, in one line."""
        parts = [part for path in self.paths for part in (_sweep_progress(path) if is_sweep(path) else [])]
        parts += [_run_progress(folder) for path in self.paths for folder in _unfinished(path)]
        shown = parts[:4] + ([f"and {len(parts) - 4} more"] if len(parts) > 4 else [])
        return " · ".join(shown) or "nothing is running"

    def _render(self, version: str) -> str:
        try:
            return page(specify_folders(self.paths, self.title), live=version)
        except UserError as error:
            return _WAITING.format(reason=escape(str(error)), progress=escape(self.progress()))


def serve(paths: Sequence[Path], port: int = 0, title: str | None = None) -> tuple[ThreadingHTTPServer, str]:
    """A server of the live report on 127.0.0.1, and its address; `serve_forever()` runs it.

    Args:
        paths: run folders, folders that hold some, or sweeps.
        port: 0 takes any free one.
        title: of the page.

    Raises:
        UserError: a folder does not exist, or the port is taken.
    """
    live = LiveReport(paths, title)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] == "/":
                self._answer("text/html; charset=utf-8", live.html().encode())
            elif self.path == "/status":
                status = {"version": live.version(), "progress": live.progress()}
                self._answer("application/json", json.dumps(status).encode())
            else:
                self.send_error(404)

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Requests are nobody's news."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"port {port} cannot be used: {error.strerror}. Choose another --port.") from error
    server.daemon_threads = True
    return server, f"http://127.0.0.1:{server.server_port}/"


def _files(path: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        yield from path.rglob(name) if path.is_dir() else [path]


def _unfinished(path: Path) -> list[Path]:
    """Folders of runs that have begun and are not done, the one written last first."""
    begun = [
        file.parent for file in _files(path, ["events.jsonl"]) if not (file.parent / "result.json").exists()
    ]
    return sorted(begun, key=lambda folder: -(folder / "events.jsonl").stat().st_mtime)


def _run_progress(folder: Path) -> str:
    record = _last_record(folder / "events.jsonl")
    parts = [f"{name} {record[name]}" for name in ("stage", "step", "after") if record.get(name) is not None]
    if isinstance(record.get("loss"), float):
        parts.append(f"loss {record['loss']:.3g}")
    return f"{folder.name}: {', '.join(parts) or 'begun'}"


def _last_record(file: Path, tail: int = 4096) -> dict[str, Any]:
    """The last whole line of an event log; empty if there is none."""
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - tail))
        lines = log.read().splitlines()
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut off at either end
        return record if isinstance(record, dict) else {}
    return {}


def _sweep_progress(path: Path) -> list[str]:
    from cl_forget.sweeps.trials import load_trials

    trials = load_trials(path)
    over = sum(trial.over for trial in trials)
    running = sum(trial.status == "running" for trial in trials)
    return [f"{path.name}: {over} of {len(trials)} trials done, {running} running"]

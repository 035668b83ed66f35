"""A report that keeps up with runs and sweeps under way: one page on this machine, built again when files change.

The page asks for `/status` every few seconds and loads itself anew when there is something new to show; what
the reader has chosen stands in the address and survives. Nothing but this machine can reach it, and it answers
only to this machine's own names: a page elsewhere that has its name resolved to 127.0.0.1 is turned away.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cl_forget.ground.errors import UserError
from cl_forget.ground.redact import redact
from cl_forget.reporting import notes
from cl_forget.reporting.html.render import items_json, page
from cl_forget.reporting.items import item_page
from cl_forget.reporting.opening import is_sweep, specify_folders

OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""What a browser on this machine calls the server; the port may be another one, as at the end of a tunnel."""

WATCHED = ("result.json", "trial.json", notes.FILE)
MOST_OF_A_NOTE = 200_000
"""Bytes of a note as it is sent, JSON and all."""

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
            (str(file), changed)
            for path in self.paths
            for file in _files(path, WATCHED)
            if (changed := _changed(file)) is not None
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
        gone = [f"{path} is gone" for path in self.paths if not path.exists()]
        parts = [part for path in self.paths for part in (_sweep_progress(path) if is_sweep(path) else [])]
        parts = gone + parts
        parts += [_run_progress(folder) for path in self.paths for folder in _unfinished(path)]
        shown = parts[:4] + ([f"and {len(parts) - 4} more"] if len(parts) > 4 else [])
        return " · ".join(shown) or "nothing is running"

    def page(self) -> tuple[str, bytes]:
        """The page as an answer: its kind and content."""
        return "text/html; charset=utf-8", self.html().encode()

    def items(self) -> tuple[str, bytes]:
        """The samples behind the numbers, all of them, likewise; nothing where no run has kept any."""
        found = specify_folders(self.paths, self.title).items
        content = "null" if found is None else items_json(item_page(found, whole=True), pictures=True)
        return "application/json", content.encode()

    def status(self) -> tuple[str, bytes]:
        """The version and what is running, likewise."""
        status = {"version": self.version(), "progress": self.progress()}
        return "application/json", json.dumps(status).encode()

    def note(self, run: str, text: str) -> None:
        """Keep a note in the folder of a run of this report.

        Raises:
            UserError: there is no such run, or its folder cannot be written.
        """
        known = {record.name: record.folder for record in specify_folders(self.paths, self.title).runs}
        folder = known.get(run)
        if folder is None:
            raise UserError(f"no run '{run}' in this report: load the page anew.")
        notes.write_note(Path(folder), text)

    def _render(self, version: str) -> str:
        try:
            return page(specify_folders(self.paths, self.title), live=version)
        except (UserError, OSError) as error:  # files come and go while they are read
            return _WAITING.format(reason=escape(_line(error)), progress=escape(self.progress()))


def serve(
    paths: Sequence[Path], port: int = 0, title: str | None = None, hosts: Sequence[str] = ()
) -> tuple[ThreadingHTTPServer, str]:
    """A server of the live report on 127.0.0.1, and its address; `serve_forever()` runs it.

    It answers GET and HEAD for three addresses, the page, its status and its items, and POST for the notes of runs,
    under `OWN_NAMES` and `hosts` only.

    Args:
        paths: run folders, folders that hold some, or sweeps.
        port: 0 takes any free one.
        title: of the page.
        hosts: further names that a browser may call it by, such as that of a proxy before it.

    Raises:
        UserError: a folder does not exist, or the port is taken.
    """
    live = LiveReport(paths, title)
    names = OWN_NAMES | {host.lower() for host in hosts}

    class Handler(_Handler):
        answers = {"/": live.page, "/status": live.status, "/items": live.items}  # noqa: RUF012  it is never changed
        known = names
        keep = staticmethod(live.note)

    try:
        server = _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"port {port} cannot be used: {error.strerror}. Choose another --port.") from error
    server.daemon_threads = True
    return server, f"http://127.0.0.1:{server.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    """Answers for a few addresses, under known names.

    Attributes:
        answers: address -> a function that gives the kind and the content.
        known: names that a request may be addressed to.
        keep: keeps a note, given the name of a run and a text.
    """

    answers: Mapping[str, Callable[[], tuple[str, bytes]]]
    known: frozenset[str]
    keep: Callable[[str, str], None]
    timeout = 60  # seconds: who announces a note and sends none is not waited for

    def do_GET(self) -> None:
        answer = self.answers.get(self.path.partition("?")[0])
        if not self._meant():
            self.send_error(403, "this address is not one of this server's own")
        elif answer is None:
            self.send_error(404)
        else:
            try:
                kind, content = answer()
            except Exception as error:  # one line for the reader, whatever lies in the folder
                self.send_error(500, _line(error))
            else:
                self._send(kind, content)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Keep a note. A page elsewhere cannot send one: its kind is asked about first, and we grant nothing."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self.send_error(411, "a note says how long it is")
        if int(length) > MOST_OF_A_NOTE:
            return self.send_error(413, "that is too long for a note")
        content = self.rfile.read(int(length))  # what is refused is read, too, or nobody would hear why
        if not self._meant() or not self._from_here():
            self.send_error(403, "only a page of this server may write")
        elif self.path != "/notes":
            self.send_error(404)
        elif self.headers.get_content_type() != "application/json":
            self.send_error(415, "a note is sent as JSON")
        else:
            self._keep(content)

    def _keep(self, content: bytes) -> None:
        try:
            sent = json.loads(content)
            if not (
                isinstance(sent, dict) and all(isinstance(sent.get(key), str) for key in ("run", "text"))
            ):
                raise UserError("a note names its run and has a text.")
            self.keep(sent["run"], sent["text"])
        except (UserError, ValueError, RecursionError) as error:
            self._send("text/plain; charset=utf-8", _line(error).encode(), 400)
        except Exception as error:
            self._send("text/plain; charset=utf-8", _line(error).encode(), 500)
        else:
            self._send("application/json", b"{}")

    def _from_here(self) -> bool:
        """Whether the page that sends something is ours: a browser always says where it came from."""
        given = self.headers.get_all("Origin") or []
        try:
            return len(given) == 1 and urlsplit(given[0]).netloc.lower() == self.headers["Host"].lower()
        except ValueError:
            return False

    def _meant(self) -> bool:
        """Whether the request is addressed to this machine, or to a name that was asked for."""
        given = self.headers.get_all("Host") or []
        try:
            return len(given) == 1 and (urlsplit(f"//{given[0]}").hostname or "").lower() in self.known
        except ValueError:
            return False

    def _send(self, kind: str, content: bytes, status: int = 200) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are nobody's news."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news, anything else one line."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            print(f"report: {_line(error)}", file=sys.stderr)


def _line(error: BaseException) -> str:
    return (redact(str(error)).strip().splitlines() or [type(error).__name__])[0]


def _changed(file: Path) -> int | None:
    """When a file was last written; None where it is gone."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _files(path: Path, names: Sequence[str]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for name in names:
        yield from path.rglob(name)


def _unfinished(path: Path) -> list[Path]:
    """Folders of runs that have begun and are not done, the one written last first."""
    found = [(file.parent, _changed(file)) for file in _files(path, ["events.jsonl"])]
    begun = [(f, at) for f, at in found if at is not None and not (f / "result.json").exists()]
    return [folder for folder, _ in sorted(begun, key=lambda one: -one[1])]


def _run_progress(folder: Path) -> str:
    record = _last_record(folder / "events.jsonl")
    parts = [f"{name} {record[name]}" for name in ("stage", "step", "after") if record.get(name) is not None]
    if isinstance(record.get("loss"), float):
        parts.append(f"loss {record['loss']:.3g}")
    return f"{folder.name}: {', '.join(parts) or 'begun'}"


def _last_record(file: Path, tail: int = 4096) -> dict[str, Any]:
    """The last whole line of an event log; empty if there is none."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - tail))
            lines = log.read().splitlines()
    except OSError:  # gone meanwhile
        return {}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut off at either end
        return record if isinstance(record, dict) else {}
    return {}


def _sweep_progress(path: Path) -> list[str]:
    from cl_forget.comparison.trial_files import Records

    try:
        found = Records(path).overview()
    except (UserError, OSError) as error:
        return [f"{path.name}: {_line(error)}"]
    running = found.counts.get("running", 0)
    return [f"{path.name}: {found.over} of {found.trials} trials done, {running} running"]

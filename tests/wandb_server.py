"""A small W&B server: the GraphQL and file-stream calls that the real client makes, kept in memory.

It can be slow, answer with an error, refuse the key, or go away, at any time.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"
KEY = "0123456789" * 4


@dataclass
class StoredRun:
    """What the server knows of one run."""

    name: str
    project: str
    entity: str = ENTITY
    display_name: str = ""
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[int, str]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = self.files.get("wandb-history.jsonl", {})
        return [json.loads(lines[number]) for number in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.files.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}


class Server:
    """The server under way; a context manager.

    Attributes:
        delay: seconds before each answer.
        hangs_on: GraphQL operations that are not answered for as long as they stand here.
        status: the HTTP status of every answer; 200 is a server that works.
        entities: the ones that exist.
        runs: by run id.
        projects: those that exist without runs.
        refuses_views: whether saving reports and workspaces is not allowed.
        calls: (GraphQL operation, variables), in order.
        artifacts: those offered, as the client described them.
        views: reports and workspaces saved, as the client sent them.
    """

    def __init__(self) -> None:
        self.delay, self.status = 0.0, 200
        self.hangs_on: set[str] = set()
        self.entities = {ENTITY}
        self.runs: dict[str, StoredRun] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.projects: set[str] = set()
        self.refuses_views = False
        self.artifacts: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away: connections are refused from now on."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None  # type: ignore[assignment]

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The variables of every call of a GraphQL operation."""
        return [variables for name, variables in self.calls if name == operation]

    # -- GraphQL ---------------------------------------------------------------------------------------
    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = operation.group(1) if operation else ""
        self.calls.append((name, variables))
        while name in self.hangs_on:
            time.sleep(0.05)
        method = getattr(self, f"_{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}", None)
        return method(variables) if method else {"data": {}}

    def _viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": name}} for name in sorted(self.entities)]}
        person = {"id": "VXNlcjox", "entity": ENTITY, "username": "someone", "email": "", "flags": "{}"}
        return {"data": {"viewer": {**person, "teams": teams}}}

    def _get_default_entity(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"viewer": {"id": "VXNlcjox", "entity": ENTITY}}}

    def _run_resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        if refused := self._refused(variables):
            return refused
        if run is None:
            return {"data": {"model": None}}
        lines = {file: len(run.files.get(file, {})) for file in ("wandb-history.jsonl", "wandb-events.jsonl")}
        tail = [json.dumps(line) for line in run.history[-1:]]
        bucket = {
            **self._bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": lines["wandb-history.jsonl"],
            "eventsLineCount": lines["wandb-events.jsonl"],
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "tags": run.tags,
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        entity = {"id": "RW50aXR5", "name": run.entity}
        return {"data": {"model": {"id": "UHJv", "name": run.project, "entity": entity, "bucket": bucket}}}

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        if refused := self._refused(variables):
            return refused
        name, project = variables["name"], variables["project"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun(name, project, variables.get("entity") or ENTITY))
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        run.display_name = variables.get("displayName") or run.display_name
        run.tags = variables.get("tags") or run.tags
        if variables.get("config"):
            run.config |= {key: item["value"] for key, item in json.loads(variables["config"]).items()}
        return {"data": {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}}

    def _bucket(self, run: StoredRun) -> dict[str, Any]:
        return {
            "id": base64.b64encode(run.name.encode()).decode(),
            "name": run.name,
            "displayName": run.display_name,
            "description": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": None,
            "project": {"id": "UHJv", "name": run.project, "entity": {"id": "RW50", "name": run.entity}},
            "historyLineCount": len(run.files.get("wandb-history.jsonl", {})),
        }

    def _refused(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        if (entity := variables.get("entity")) and entity not in self.entities:
            return {
                "data": None,
                "errors": [{"message": f"entity {entity} not found", "path": ["upsertBucket"]}],
            }
        return None

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        base = f"{self.url}/upload/{variables['run']}"
        files = [{"name": name, "uploadUrl": f"{base}/{name}"} for name in variables["files"]]
        return {"data": {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}}

    def _artifact_type(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"project": {"artifact": None}}}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        self.artifacts.append(given)
        # Committed: the server has these contents already, so nothing more is uploaded.
        artifact = {"id": "QXJ0", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
        return {"data": {"createArtifact": {"artifact": artifact}}}

    # -- what reports ask for --------------------------------------------------------------------------
    def _runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        entity, project = variables["entity"], variables["project"]
        found = [run for run in self.runs.values() if (run.entity, run.project) == (entity, project)]
        if not found and project not in self.projects:
            return {"data": {"project": None}}
        edges = [{"node": self._run_node(run), "cursor": run.name} for run in found]
        page = {"endCursor": None, "hasNextPage": False}
        answer = {"internalId": "1", "runCount": len(found), "readOnly": False}
        return {"data": {"project": {**answer, "runs": {"edges": edges, "pageInfo": page}}}}

    def _run_node(self, run: StoredRun) -> dict[str, Any]:
        return {
            **self._bucket(run),
            "projectId": "1",
            "tags": run.tags,
            "state": {None: "running", 0: "finished"}.get(run.exit_code, "failed"),
            "group": run.group,
            "jobType": run.job_type,
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "notes": None,
            "systemMetrics": "{}",
            "summaryMetrics": json.dumps(run.summary),
            "historyKeys": None,
            "user": {"name": "someone", "username": "someone"},
        }

    def _get_projects(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = self.projects | {run.project for run in self.runs.values()}
        common = {
            "__typename": "Project",
            "entityName": variables["entity"],
            "isBenchmark": False,
            "user": None,
        }
        nodes = [
            {"id": name, "name": name, "createdAt": "2026-01-01T00:00:00Z", **common}
            for name in sorted(names)
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"data": {"models": {"pageInfo": page, "edges": [{"node": node} for node in nodes]}}}

    def _project_internal_id(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"project": {"id": "UHJv", "internalId": "1"}}}

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        if self.refuses_views:
            return {"data": None, "errors": [{"message": "permission denied", "path": ["upsertView"]}]}
        self.views.append(variables)
        project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
        kept = {key: variables.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        view = {"id": f"VmlldzoxMj{len(self.views)}", **kept, "project": project}
        view["updatedAt"] = "2026-01-01T00:00:00Z"
        return {"data": {"upsertView": {"view": view, "inserted": True}}}

    _upsert_view2 = _upsert_view

    # -- files -----------------------------------------------------------------------------------------
    def stream(self, run: StoredRun, body: dict[str, Any]) -> None:
        for name, part in (body.get("files") or {}).items():
            lines = run.files.setdefault(name, {})
            lines |= {part["offset"] + number: line for number, line in enumerate(part["content"])}
        if body.get("complete") is not None:
            run.complete = body["complete"]
            run.exit_code = body.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._read()
        self._send({})

    def do_PUT(self) -> None:
        body = self._read()
        if match := re.match(r"/upload/(\w+)/(.+)", self.path):
            self.server_state.runs[match[1]].uploads[match[2]] = body
        self._send({})

    def do_POST(self) -> None:
        server, body = self.server_state, self._read()
        deadline = time.monotonic() + server.delay
        while time.monotonic() < deadline and server.delay:  # a test may take the delay back
            time.sleep(0.05)
        if server.status != 200:
            self._send({"errors": [{"message": "as the test wants it"}]}, server.status)
        elif self.path == "/graphql":
            asked = json.loads(body)
            self._send(server.answer(asked["query"], asked.get("variables") or {}))
        else:
            if match := re.match(r"/files/[^/]+/[^/]+/(\w+)/file_stream", self.path):
                server.stream(server.runs[match[1]], json.loads(body))
            self._send({})

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # the client has closed the connection
            super().handle()

    def _read(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client did not wait for the answer

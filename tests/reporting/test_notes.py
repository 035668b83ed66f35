"""Notes: kept in a run's folder, shown on every page, written only by a page of the same server."""

from __future__ import annotations

import http.client
import json
import threading

import pytest
from samples import CONTROL, make_results

from cl_forget.ground.errors import UserError
from cl_forget.reporting import specify_folders
from cl_forget.reporting.html.render import page
from cl_forget.reporting.notes import FILE, LONGEST, read_note, write_note
from cl_forget.reporting.serve import LiveReport, serve


@pytest.fixture
def folder(tmp_path):
    for result in make_results([CONTROL, "LDIFS"], seeds=(0,)):
        run = tmp_path / result.method.replace(" ", "-")
        run.mkdir()
        (run / "result.json").write_text(result.model_dump_json())
    return tmp_path


def test_a_note_is_kept_and_shown_as_text(folder):
    write_note(folder / "LDIFS", "  <b>odd</b> at step 40\n\n")
    assert (folder / "LDIFS" / FILE).read_text() == "<b>odd</b> at step 40\n"
    (run,) = [run for run in specify_folders(folder).runs if run.method == "LDIFS"]
    assert run.note == "<b>odd</b> at step 40"
    text = page(specify_folders(folder))
    assert "<dt>LDIFS, seed 0</dt><dd>&lt;b&gt;odd&lt;/b&gt; at step 40</dd>" in text
    write_note(folder / "LDIFS", " \n")
    assert not (folder / "LDIFS" / FILE).exists() and read_note(folder / "LDIFS") == ""
    with pytest.raises(UserError, match="shorten"):
        write_note(folder / "LDIFS", "x" * (LONGEST + 1))
    with pytest.raises(UserError, match="cannot be written"):
        write_note(folder / "nowhere", "x")
    (folder / "LDIFS" / FILE).write_bytes(b"\xff\xfe broken")
    assert "broken" in read_note(folder / "LDIFS")


@pytest.fixture
def address(folder):
    server, address = serve([folder], hosts=["hub.example"])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def post(address, body, path="/notes", **headers):
    port = int(address.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    given = {"Host": "localhost:1", "Origin": "http://localhost:1", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(
        "POST", path, content, {name: value for name, value in given.items() if value is not None}
    )
    with connection.getresponse() as answer:
        found = answer.status, answer.read().decode()
    connection.close()
    return found


NOTE = {"run": "LDIFS, seed 0", "text": "look again"}


def test_the_server_keeps_a_note_in_the_runs_folder(folder, address):
    before = LiveReport([folder]).version()
    assert post(address, NOTE)[0] == 200
    assert (folder / "LDIFS" / FILE).read_text() == "look again\n"
    assert LiveReport([folder]).version() != before, "other open pages load it"
    assert post(address, NOTE, Host="hub.example", Origin="https://hub.example")[0] == 200
    assert post(address, {**NOTE, "text": ""})[0] == 200 and not (folder / "LDIFS" / FILE).exists()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "http://localhost:2"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"path": "/"}, 404),
        ({"path": "/notes/../x"}, 404),
        ({"body": b"{"}, 400),
        ({"body": b"[" * 100_000}, 400),
        ({"body": ["run"]}, 400),
        ({"body": {"run": "LDIFS, seed 0", "text": 3}}, 400),
        ({"body": {"run": "../LDIFS", "text": "x"}}, 400),
        ({"body": {"run": "LDIFS, seed 0", "text": "x" * (LONGEST + 1)}}, 400),
    ],
)
def test_what_is_no_note_of_ours_is_refused(folder, address, change, status):
    asked = {"body": NOTE, **change}
    found, reason = post(address, **asked)
    assert found == status and reason
    assert not list(folder.rglob(FILE))


def test_a_reader_writes_a_note_in_the_browser(browser, folder, address):
    browser.open(address)
    browser.evaluate("clForget.showRun(clForget.runs.findIndex(({ name }) => name === 'LDIFS, seed 0'))")
    browser.evaluate("document.querySelector('#run textarea').value = 'seen <i>here</i>'")
    browser.evaluate("document.querySelector('#run .keep').click()")
    browser.wait("document.querySelector('#run .writing [role=status]').textContent === 'kept'")
    assert read_note(folder / "LDIFS") == "seen <i>here</i>"
    assert browser.evaluate("document.querySelector('#run .written').textContent") == "seen <i>here</i>"
    browser.evaluate("document.getElementById('run').close()")
    browser.wait("document.querySelector('#section-notes dd')?.textContent === 'seen <i>here</i>'")
    assert browser.errors == []

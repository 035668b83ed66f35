"""The live page: it waits, shows, and refreshes itself."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import urllib.error
import urllib.request

import pytest
from samples import CONTROL, make_results

from cl_forget.ground.errors import UserError
from cl_forget.reporting.serve import LiveReport, serve


@pytest.fixture
def folder(tmp_path):
    """An experiment under way: one run has begun, none is done."""
    run = tmp_path / "ldifs-seed0"
    run.mkdir()
    (run / "state.json").write_text("{}")
    (run / "events.jsonl").write_text('{"stage": "digits", "step": 7, "loss": 0.25}\n{"stage": "dig')
    return tmp_path


@pytest.fixture
def address(folder):
    server, address = serve([folder])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def finish(folder, method: str) -> None:
    (result,) = make_results([method], seeds=(0,))
    run = folder / f"{method.lower().replace(' ', '-')}-seed0"
    run.mkdir(exist_ok=True)
    (run / "result.json").write_text(result.model_dump_json())


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def test_it_waits_for_the_first_result_and_says_what_runs(folder, address):
    text = read(address)
    assert "Waiting for the first result" in text
    assert "ldifs-seed0: stage digits, step 7, loss 0.25" in text
    assert address.startswith("http://127.0.0.1:")


def test_the_page_loads_itself_anew_when_a_run_finishes(browser, folder, address):
    finish(folder, CONTROL)
    version = json.loads(read(f"{address}status"))["version"]
    browser.open(address)
    assert browser.errors == []
    assert browser.evaluate("document.getElementById('live').dataset.version") == version
    browser.wait("document.getElementById('live').textContent.includes('step 7')")
    browser.evaluate(f"document.querySelector('.chip[data-method=\"{CONTROL}\"]').click()")
    finish(folder, "LDIFS")
    browser.wait("document.querySelectorAll('.chip[data-method]').length === 3")
    browser.wait("document.documentElement.dataset.ready === 'true'")
    pressed = f"document.querySelector('.chip[data-method=\"{CONTROL}\"]').ariaPressed"
    assert browser.evaluate(pressed) == "false", "what was chosen survives"
    assert "nothing is running" in json.loads(read(f"{address}status"))["progress"]


def test_other_addresses_and_folders_are_refused(folder, address, tmp_path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        read(f"{address}../result.json")
    refused.value.close()
    assert refused.value.code == 404
    with pytest.raises(UserError, match="no folder"):
        LiveReport([tmp_path / "nowhere"])
    port = int(address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(UserError, match="Choose another --port"):
        serve([folder], port)


def test_a_broken_result_is_a_reason_on_the_page(folder):
    (folder / "ldifs-seed0" / "result.json").write_text('{"method": "LDI')
    assert "is not a result of this version" in LiveReport([folder]).html()


def ask(address, method="GET", path="/", **headers) -> tuple[int, str]:
    port = int(address.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    with connection.getresponse() as answer:
        found = answer.status, answer.read().decode()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LocalHost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("evil.example#localhost", 403),
        ("user@evil.example", 403),
        ("[::1", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_only_this_machines_own_names_are_answered(address, host, status):
    assert ask(address, Host=host)[0] == status
    assert ask(address, path="/status", Host=host)[0] == status


def test_a_name_that_was_asked_for_is_answered(folder):
    server, address = serve([folder], hosts=["Hub.example"])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert ask(address, Host="hub.example")[0] == 200
        assert ask(address, Host="other.example")[0] == 403
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_nothing_but_reading_and_notes(folder, address):
    (folder / "secret.txt").write_text("not for you")
    assert ask(address, "HEAD") == (200, "")
    assert {ask(address, method)[0] for method in ("PUT", "DELETE", "OPTIONS")} == {501}
    assert ask(address, "POST")[0] == 411
    for path in (
        "/secret.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "//secret.txt",
        "/etc/passwd",
        "http://x/",
    ):
        status, text = ask(address, path=path)
        assert status in (403, 404) and "not for you" not in text


def test_a_folder_that_is_deleted_is_one_line(folder, address, capfd):
    finish(folder, CONTROL)
    shutil.rmtree(folder)
    status, text = ask(address)
    assert status == 200 and f"{folder} is gone" in text
    assert f"{folder} is gone" in json.loads(read(f"{address}status"))["progress"]
    assert "Traceback" not in capfd.readouterr().err + text


def test_a_garbled_log_is_no_reason_to_stop(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "events.jsonl").write_bytes(b'{"step": 3, "loss": 0.5}\n' + b"[" * 4000 + b"\n")
    assert LiveReport([tmp_path]).progress() == "run: step 3, loss 0.5"

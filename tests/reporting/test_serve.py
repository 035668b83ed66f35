"""The live page: it waits, shows, and refreshes itself."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import pytest
from samples import CONTROL, make_results

from cl_forget.errors import UserError
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

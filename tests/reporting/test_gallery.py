"""The gallery: a card for every experiment, and its report beside the index."""

from __future__ import annotations

import pytest
from samples import CONTROL, make_results
from typer.testing import CliRunner

from cl_forget.cli.app import app
from cl_forget.ground.errors import UserError
from cl_forget.reporting.gallery import experiments, write_gallery


def write(folder, results):
    for result in results:
        run = folder / f"{result.method}-{result.seed}".replace(" ", "-")
        run.mkdir(parents=True)
        (run / "result.json").write_text(result.model_dump_json())
    return folder


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "runs" / "first", make_results([CONTROL, "LDIFS"], seeds=(0, 1)))
    write(tmp_path / "runs" / "deep" / "second", make_results([CONTROL], (0,), ["digits"], [], []))
    broken = write(tmp_path / "runs" / "broken", make_results([CONTROL], seeds=(0,)))
    next(broken.rglob("result.json")).write_text("{}")
    (tmp_path / "runs" / "empty").mkdir()
    return tmp_path


def test_experiments_are_found_at_any_depth(place):
    found = [folder.relative_to(place).as_posix() for folder in experiments(place / "runs")]
    assert found == ["runs/broken", "runs/deep/second", "runs/first"]


def test_every_card_has_its_numbers_version_commit_and_report(place):
    made = write_gallery(place / "runs", place / "out")
    assert {card.file for card in made.cards} == {"first.html", "second.html"}
    first = next(card for card in made.cards if card.file == "first.html")
    assert first.commits == ("0123abc",) and first.thumbnail.startswith(b"\x89PNG")
    assert [method for method, _ in first.lines] == ["pre-trained", CONTROL, "LDIFS"]
    assert first.heads[:2] == ("Speciality", "Generality") and len(first.lines[0][1]) == len(first.heads)
    text = made.index.read_text()
    assert "0123abc" in text and "LDIFS" in text and 'href="first.html"' in text
    assert list(made.refused) == [str(place / "runs" / "broken")] and "not a result" in text
    assert (place / "out" / "first.html").read_text().startswith("<!doctype html>")


def test_what_cannot_be_shown_is_one_line(place):
    with pytest.raises(UserError, match="no experiment in or below"):
        write_gallery(place / "runs" / "empty", place / "out")
    with pytest.raises(UserError, match="no folder"):
        write_gallery(place / "nowhere", place / "out")
    with pytest.raises(UserError, match="none of the 1 folders can be shown"):
        write_gallery(place / "runs" / "broken", place / "out")
    assert not (place / "out").exists()


def test_the_command_replaces_only_its_own(place, monkeypatch):
    monkeypatch.chdir(place)
    run = CliRunner().invoke
    assert run(app, ["gallery", "runs"]).exit_code == 0
    assert run(app, ["gallery", "runs", "--title", "Ours"]).exit_code == 0
    assert "<h1>Ours</h1>" in (place / "gallery" / "index.html").read_text()
    (place / "mine").mkdir()
    (place / "mine" / "index.html").write_text("mine")
    with pytest.raises(UserError, match="overwrite"):
        run(app, ["gallery", "runs", "--output", "mine"], catch_exceptions=False, standalone_mode=False)


def test_the_index_is_searched_in_a_browser(browser, place):
    made = write_gallery(place / "runs", place / "out")
    browser.open(made.index)
    assert browser.errors == []
    browser.evaluate(
        "(() => { const f = document.getElementById('find'); f.value = 'ldifs';"
        " f.dispatchEvent(new Event('input')); })()"
    )
    shown = "[...document.querySelectorAll('.gallery li')].filter(({ hidden }) => !hidden).length"
    assert browser.evaluate(shown) == 1
    browser.open(made.index, 390, 800, dark=True, phone=True, fragment="#ldifs")
    assert browser.evaluate(shown) == 1 and browser.evaluate("document.documentElement.scrollWidth") <= 390

"""What the data were taken for, in the report: found beside the runs, whatever kind of folder is given."""

import base64
import html
from pathlib import Path

import pytest
from samples import CONTROL, make_results

from cl_forget.ground.errors import UserError
from cl_forget.reporting import report, specify_folders
from cl_forget.reporting._understood import find_understood
from cl_forget.streams.understood import FILE, Understood, write_understood
from cl_forget.tracking.files import write_result

PETS = Understood(
    name="pets <b>", role="task", kind="images, top-1 accuracy", classes=("cat", "dog"), class_count=2,
    splits={"train": 70, "test": 20}, sample=("first image: 8 x 8",), thumbnail=b"\x89PNG", duplicates={"test": 3},
)  # fmt: skip
WORDS = Understood(name="words", role="suite", kind="texts, perplexity", splits={"test": 5})


def run_folders(output: Path) -> list[Path]:
    folders = []
    for number, result in enumerate(make_results([CONTROL, "LDIFS"], seeds=(0,))):
        folders.append(output / f"run-{number}")
        folders[-1].mkdir()
        write_result(folders[-1], result)
        write_understood(folders[-1], [PETS, WORDS])
    return folders


def test_the_page_shows_every_record_once_with_its_picture(tmp_path: Path) -> None:
    folders = run_folders(tmp_path)
    specification = specify_folders([tmp_path])
    assert specification.understood == (PETS, WORDS)
    assert specify_folders(folders).understood == (PETS, WORDS)
    written = report(make_results([CONTROL, "LDIFS"], seeds=(0,)), tmp_path)
    page = written.page.read_text()
    for line in [*PETS.lines(), *WORDS.lines()]:
        assert page.count(f">{html.escape(line)}</li>") == 1
    assert page.count(base64.b64encode(PETS.thumbnail or b"").decode()) == 1
    assert "pets <b>" not in page


def test_a_report_without_records_says_nothing_of_data(tmp_path: Path) -> None:
    page = report(make_results([CONTROL]), tmp_path).page.read_text()
    assert "Data as it was understood" not in page


def test_records_of_trials_are_found_and_a_garbled_file_is_one_line(tmp_path: Path) -> None:
    trial = tmp_path / "trials" / "a"
    trial.mkdir(parents=True)
    write_understood(trial, [WORDS])
    assert find_understood([tmp_path, tmp_path]) == (WORDS,)
    (trial / FILE).write_bytes(b"\xff")
    with pytest.raises(UserError, match="delete it"):
        find_understood([tmp_path])

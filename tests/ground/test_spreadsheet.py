"""Tables as CSV: numbers to compute with, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from cl_forget.ground.spreadsheet import csv_text

SOURCES = Path(__file__).parents[2] / "cl_forget"


def cells(*values: object) -> list[str]:
    (_, line) = csv.reader(csv_text([str(i) for i in range(len(values))], [values]).splitlines(keepends=True))
    return line


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x")',
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1",
        "＝1",
        "-",
    ],
)
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert csv_text([text], [[text]]).count("'" + text.replace('"', '""')) == 2, "heads and cells alike"


def test_numbers_and_ordinary_names_are_left_alone() -> None:
    values = (-0.5, 1e-7, 3, True, None, "-0.5", "+3e-4", "L2-SP", "a=b", "x@y", "full fine-tuning", "")
    expected = [
        "-0.5",
        "1e-07",
        "3",
        "True",
        "",
        "-0.5",
        "+3e-4",
        "L2-SP",
        "a=b",
        "x@y",
        "full fine-tuning",
        "",
    ]
    assert cells(*values) == expected


def test_there_is_one_writer() -> None:
    writers = [
        path.name
        for path in SOURCES.rglob("*.py")
        if re.search(r"csv\.(Dict)?[wW]riter|to_csv\(", path.read_text())
    ]
    assert writers == ["spreadsheet.py"]


def test_methods_named_like_formulas_are_inert_in_every_table(tmp_path: Path) -> None:
    from cl_forget.comparison.trials import Trial, write_table

    trial = Trial(sweep="s", id="t", method="=1+1", reason="@x", config={"train.lr": -1.0})
    table, _ = write_table([trial], tmp_path)
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["method"], row["reason"], row["config.train.lr"]) == ("'=1+1", "'@x", "-1.0")

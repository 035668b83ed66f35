"""The ledger of claims on the page of a sweep that it was judged from, and the law panel on the ledger's own page."""

from __future__ import annotations

import base64
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from search_samples import made

from cl_forget.ground.spreadsheet import csv_text
from cl_forget.reporting import specify_folders
from cl_forget.reporting.html.claims import claims_page
from cl_forget.reporting.html.render import page
from cl_forget.reporting.specification import Specification

COLUMNS = ("sentence", "source", "world", "contrast", "verdict", "effect", "low", "high", "seeds")
LINES = [
    (
        "L2-SP <keeps> more",
        "abstract",
        "vision",
        "generality: L2-SP − KD",
        "supported",
        -0.0126,
        -0.02,
        0.0051,
        5,
    ),
    ("KD forgets less", "table 2", "vision", "bwt: KD − L2-SP", "not run", None, None, None, 0),
]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep two folders below a ledger that has read one of its trials."""
    folder = tmp_path / "experiments" / "results" / "grid"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    trials = [*made("L2-SP", "l2_sp", 0, 0), *made("KD", "kd", 0, 1)]
    for trial in trials:
        trial.save(folder)
    write_ledger(tmp_path / "experiments", [trials[3].id, "of another sweep"])
    return folder


def write_ledger(place: Path, ids: list[str]) -> None:
    (place / "claims.csv").write_text(csv_text(COLUMNS, LINES))
    pyarrow.parquet.write_table(
        pyarrow.table({"id": ids, "record": ["{}"] * len(ids)}), place / "records.parquet"
    )


def names(specification: Specification) -> set[str]:
    return {item.name for section in specification.sections for item in section.items}


def test_claims_that_rest_on_the_trials_stand_on_their_page(sweep: Path) -> None:
    specification = specify_folders([sweep])
    figure = specification.item("claims")
    assert figure.data["claim"] == ["L2-SP <keeps> more"] and figure.data["verdict"] == ["supported"]
    assert figure.data["effect"] == ["−0.013 [−0.020, +0.005]"]
    assert figure.notes == (
        "It rests on 1 of these trials; experiments/claims.html has all of it, with the papers.",
        "1 more claim is registered and not run.",
    )
    html = page(specification)
    assert "L2-SP &lt;keeps&gt; more" in html and '<td class="text supported">supported</td>' in html


def test_a_ledger_of_other_trials_is_not_shown(sweep: Path) -> None:
    place = sweep.parents[1]
    write_ledger(place, ["of another sweep"])
    assert "claims" not in names(specify_folders([sweep]))
    (place / "records.parquet").write_bytes(b"not whole")
    assert "claims" not in names(specify_folders([sweep])), "a report does not need the ledger"
    (place / "claims.csv").unlink()
    assert "claims" not in names(specify_folders([sweep]))


def test_the_ledger_s_own_page_holds_the_law_panels() -> None:
    html = claims_page([], {"vision": b"a picture"})
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in html
    assert "The world vision" in html and "data:image" not in claims_page([])

"""Many records of trials: the index beside them is faster, and never says anything else than they do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cl_forget.comparison.trial_files as files
from cl_forget.comparison.trial_files import INDEX, Records, standing
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.ground.errors import UserError

LONG_AGO = 10**18  # nanoseconds: in 2001


def record(number: int, **fields: object) -> Trial:
    metrics = {"speciality": number / 10, "generality": None if number == 3 else 0.5}
    known = {"sweep": "s", "id": f"t{number}", "method": "L2-SP", "status": "finished", "validation": metrics}
    return Trial(**{**known, **fields})


def save(folder: Path, trial: Trial, when: int = LONG_AGO) -> None:
    trial.save(folder)
    os.utime(folder / "trials" / trial.id / "trial.json", ns=(when, when))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The records that are opened one by one; an index is worth it from four of them on."""
    found: list[str] = []
    load = files.load_trial
    monkeypatch.setattr(files, "WORTH", 4)

    def opening(place: Path, name: str) -> Trial | None:
        found.append(name)
        return load(place, name)

    monkeypatch.setattr(files, "load_trial", opening)
    yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        save(tmp_path, record(number, history=[{"step": 1, "score": 0.25}], config={"train.lr": 1e-3}))
    return tmp_path


def test_what_stands_in_the_index_is_not_opened_and_is_the_same(folder: Path, opened: list[str]) -> None:
    plain = load_trials(folder)
    assert Records(folder).load() == plain and len(opened) == 5 and (folder / INDEX).exists()
    opened.clear()
    assert Records(folder).standings() == [standing(trial) for trial in plain]
    assert Records(folder).load() == plain
    assert opened == []


def test_what_was_written_since_is_opened_and_what_is_gone_is_gone(folder: Path, opened: list[str]) -> None:
    records = Records(folder)
    records.load()
    save(folder, record(1, status="failed", reason="no room"), when=LONG_AGO + 1)
    save(folder, record(7))
    (folder / "trials" / "t2" / "trial.json").unlink()
    (folder / "trials" / "a file").touch()
    for reader in (records, Records(folder)):
        opened.clear()
        assert reader.load() == load_trials(folder) and opened == ["t1", "t7"]
        assert [one.status for one in reader.standings()] == ["finished", "failed", *["finished"] * 3]


def test_a_record_as_long_as_the_one_before_it_is_seen_by_its_time(folder: Path, opened: list[str]) -> None:
    Records(folder).standings()
    save(folder, record(4, seed=1), when=LONG_AGO + 1)
    assert Records(folder).standings()[4].seed == 1


def test_what_was_written_a_moment_ago_is_not_indexed(folder: Path, opened: list[str]) -> None:
    for number in range(5):
        record(number).save(folder)
    Records(folder).standings()
    assert not (folder / INDEX).exists()


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\x00" * 4096])
def test_a_damaged_index_is_made_anew(content: bytes, folder: Path, opened: list[str]) -> None:
    Records(folder).load()
    (folder / INDEX).write_bytes(content)
    assert Records(folder).load() == load_trials(folder)
    opened.clear()
    assert len(Records(folder).standings()) == 5 and not opened


def test_texts_that_are_no_records_are_not_believed(folder: Path, opened: list[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    Records(folder).load()
    table = parquet.read_table(folder / INDEX)
    spoilt = table.set_column(table.column_names.index("text"), "text", pyarrow.array(["{}"] * len(table)))
    parquet.write_table(spoilt, folder / INDEX)
    assert Records(folder).load() == load_trials(folder)


def test_a_record_that_is_none_is_refused_and_an_empty_sweep_has_none(tmp_path: Path) -> None:
    assert Records(tmp_path).load() == [] and Records(tmp_path / "nowhere").standings() == []
    save(tmp_path, record(1))
    (tmp_path / "trials" / "t1" / "trial.json").write_text("{}")
    with pytest.raises(UserError, match="is not a trial of this version"):
        Records(tmp_path).standings()


def test_records_that_an_index_cannot_hold_are_read_all_the_same(folder: Path, opened: list[str]) -> None:
    save(folder, record(1, seed=10**30))
    assert Records(folder).load()[1].seed == 10**30 and not (folder / INDEX).exists()

"""Many records of trials: the index beside them is faster, and never says anything else than they do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import cl_forget.comparison.trial_files as files
from cl_forget.comparison.overview import Standing, overview, standing
from cl_forget.comparison.trial_files import INDEX, TEXTS, Records
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
    load, glimpse = files.load_trial, files._glimpse
    monkeypatch.setattr(files, "WORTH", 4)

    def opening(place: Path, name: str) -> Trial | None:
        found.append(name)
        return load(place, name)

    def glimpsing(place: Path, name: str, length: int) -> Standing | None:
        found.append(name)
        return glimpse(place, name, length)

    monkeypatch.setattr(files, "load_trial", opening)
    monkeypatch.setattr(files, "_glimpse", glimpsing)
    yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        save(tmp_path, record(number, history=[{"step": 1, "score": 0.25}], config={"train.lr": 1e-3}))
    return tmp_path


def test_what_stands_in_the_files_is_not_opened_and_is_the_same(folder: Path, opened: list[str]) -> None:
    plain = load_trials(folder)
    for _ in range(2):
        assert Records(folder).load() == plain
        assert Records(folder).standings() == [standing(trial) for trial in plain]
        assert Records(folder).overview() == overview([standing(trial) for trial in plain])
    assert (folder / INDEX).exists() and (folder / TEXTS).exists()
    assert len(opened) == 2 * len(plain), "once as a whole, once at a glance"


def test_what_was_written_since_is_opened_and_what_is_gone_is_gone(folder: Path, opened: list[str]) -> None:
    records = Records(folder)
    records.load()
    records.standings()
    save(folder, record(1, status="failed", reason="no room"), when=LONG_AGO + 1)
    save(folder, record(7))
    (folder / "trials" / "t2" / "trial.json").unlink()
    (folder / "trials" / "a file").touch()
    for reader in (records, Records(folder)):
        opened.clear()
        assert [one.status for one in reader.standings()] == ["finished", "failed", *["finished"] * 3]
        assert reader.overview() == overview(reader.standings())
        assert set(opened) <= {"t1", "t7"}


def test_a_whole_record_is_read_again_when_it_was_written_since(folder: Path, opened: list[str]) -> None:
    records = Records(folder)
    records.load()
    save(folder, record(1, status="failed", reason="no room"), when=LONG_AGO + 1)
    save(folder, record(7))
    for reader in (records, Records(folder)):
        opened.clear()
        assert reader.load() == load_trials(folder) and opened == ["t1", "t7"]


def test_an_overview_sees_what_ends_and_what_is_gone(folder: Path, opened: list[str]) -> None:
    records = Records(folder)
    records.standings()
    save(folder, record(5, status="running"))
    for reader in (records, Records(folder)):
        assert dict(reader.overview().counts) == {"finished": 5, "running": 1}
        assert reader.overview().open == {"t5"} and [t.id for t in reader.overview().front] == ["t4"]
    save(folder, record(5, status="finished"), when=LONG_AGO + 1)
    save(folder, record(6, status="diverged", reason="not finite"))
    opened.clear()
    for reader in (records, Records(folder)):
        assert dict(reader.overview().counts) == {"finished": 6, "diverged": 1}
        assert [t.id for t in reader.overview().front] == ["t5"] and reader.overview().broken == ["t6"]
    assert set(opened) == {"t5", "t6"}, "what is over for good is not opened again"
    shutil.rmtree(folder / "trials" / "t0")
    for reader in (records, Records(folder)):
        assert reader.overview().counts["finished"] == 5


def test_a_trial_that_is_done_again_is_seen(folder: Path, opened: list[str]) -> None:
    Records(folder).standings()
    (folder / "trials" / "t0" / "trial.json").unlink()
    assert len(Records(folder).standings()) == 4  # as whoever resumes the sweep looks
    save(folder, record(0, status="running"), when=LONG_AGO + 1)
    assert dict(Records(folder).overview().counts) == {"finished": 4, "running": 1}


def test_a_copy_of_a_sweep_needs_its_records_only_once(
    folder: Path, opened: list[str], tmp_path: Path
) -> None:
    Records(folder).standings()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    opened.clear()
    assert Records(copy).overview() == Records(folder).overview() and opened == []


def test_a_record_as_long_as_the_one_before_it_is_seen_by_its_time(folder: Path, opened: list[str]) -> None:
    Records(folder).standings()
    save(folder, record(4, seed=1), when=LONG_AGO + 1)
    assert Records(folder).standings()[4].seed == 1


def test_what_was_written_a_moment_ago_is_not_indexed(folder: Path, opened: list[str]) -> None:
    for number in range(5):
        record(number).save(folder)
    Records(folder).standings()
    Records(folder).load()
    assert not (folder / INDEX).exists() and not (folder / TEXTS).exists()


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\x00" * 4096])
def test_damaged_files_are_made_anew(content: bytes, folder: Path, opened: list[str]) -> None:
    (folder / INDEX).write_bytes(content)
    (folder / TEXTS).write_bytes(content)
    for _ in range(2):
        assert Records(folder).load() == load_trials(folder)
        assert len(Records(folder).standings()) == Records(folder).overview().trials == 5
    assert len(opened) == 10


def test_texts_that_are_no_records_are_not_believed(folder: Path, opened: list[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    Records(folder).load()
    table = parquet.read_table(folder / TEXTS)
    spoilt = table.set_column(table.column_names.index("text"), "text", pyarrow.array(["{}"] * len(table)))
    parquet.write_table(spoilt, folder / TEXTS)
    assert Records(folder).load() == load_trials(folder)


def test_a_record_that_is_none_is_refused_and_an_empty_sweep_has_none(tmp_path: Path) -> None:
    assert Records(tmp_path).load() == [] and Records(tmp_path / "nowhere").standings() == []
    save(tmp_path, record(1))
    (tmp_path / "trials" / "t1" / "trial.json").write_text("{}")
    for look in (Records.standings, Records.overview, Records.load):
        with pytest.raises(UserError, match="is not a trial of this version"):
            look(Records(tmp_path))


def test_a_record_that_has_no_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials" / "t1").mkdir(parents=True)
    os.mkfifo(tmp_path / "trials" / "t1" / "trial.json")
    with pytest.raises(UserError, match="is no regular file"):
        Records(tmp_path).overview()


def test_records_that_an_index_cannot_hold_are_read_all_the_same(folder: Path, opened: list[str]) -> None:
    save(folder, record(1, seed=10**30))
    assert Records(folder).standings()[1].seed == 10**30 and not (folder / INDEX).exists()
    assert Records(folder).load()[1].seed == 10**30

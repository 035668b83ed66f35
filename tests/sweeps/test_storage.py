"""A folder and its mirror elsewhere: several writers, and never a state without its checkpoints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cl_forget.comparison.overview import Standing, best
from cl_forget.comparison.trials import Status
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.folder import SweepState
from cl_forget.sweeps.live import time_left
from cl_forget.sweeps.storage import Mirror, is_local, local_folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_two_machines_see_each_other_s_trials(tmp_path: Path) -> None:
    driver, worker = (Mirror("memory://two", tmp_path / name) for name in ("driver", "worker"))
    record = Path("trials/a/trial.json")
    write(worker.folder / record, "running")
    worker.push()
    driver.pull()
    assert (driver.folder / record).read_text() == "running"
    write(worker.folder / record, "finished, and longer")
    worker.push()
    driver.push()  # has nothing newer, and must not put the old record back
    driver.pull()
    assert (driver.folder / record).read_text() == "finished, and longer"
    write(driver.folder / record, "changed here meanwhile")
    driver.pull()
    assert (driver.folder / record).read_text() == "changed here meanwhile"


def named(stages: list[tuple[str, str]], step: tuple[str, str] | None = None) -> str:
    """A state that names checkpoints by file and checksum."""
    entries = [{"file": file, "sha256": checksum} for file, checksum in [*stages, *([step] if step else [])]]
    inside = entries.pop() if step else None
    return json.dumps({"key": "k", "stages": entries, "step": inside})


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_state_never_arrives_before_its_checkpoints(tmp_path: Path) -> None:
    here, there = Mirror("memory://states", tmp_path / "here"), Mirror("memory://states", tmp_path / "there")
    run = here.folder / "trials" / "a"
    write(run / "checkpoints" / "stage-1.safetensors", "weights")
    stages = [("stage-1.safetensors", checksum("weights"))]
    write(run / "state.json", named(stages))
    here.push()
    # The next state names a checkpoint that is gone again before it could be copied.
    write(run / "state.json", named(stages, ("step-9", "0")))
    here.push()
    there.pull(["trials/a"])
    state = json.loads((there.folder / "trials" / "a" / "state.json").read_text())
    assert state["step"] is None
    assert (there.folder / "trials" / "a" / "checkpoints" / "stage-1.safetensors").read_text() == "weights"


def test_a_trial_that_ends_while_it_is_copied_never_ends_there_without_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror("memory://ends", tmp_path)
    run = tmp_path / "trials" / "a"
    write(run / "events.jsonl", "a line")
    write(run / "trial.json", "running")
    copy = mirror._files.pipe_file

    def meanwhile(remote: str, content: bytes) -> None:
        """The run ends while the first of its files is on its way."""
        write(run / "result.json", "a result")
        write(run / "trial.json", "finished")
        copy(remote, content)

    monkeypatch.setattr(mirror._files, "pipe_file", meanwhile)
    mirror.push(["trials/a"])
    there = {
        name.rpartition("/")[2]: mirror._files.cat(name) for name in mirror._files.find("/ends/trials/a")
    }
    assert there["trial.json"] == b"running", "the other half comes with the next round"
    mirror.push(["trials/a"])
    assert mirror._files.cat("/ends/trials/a/trial.json") == b"finished"
    assert mirror._files.cat("/ends/trials/a/result.json") == b"a result"


def test_who_goes_on_takes_what_others_did_meanwhile(tmp_path: Path) -> None:
    first, other = (Mirror("memory://on", tmp_path / name) for name in ("first", "other"))
    record = Path("trials/a/trial.json")
    write(first.folder / record, "running")
    first.push(["trials/a"])
    other.pull()
    write(other.folder / record, "finished elsewhere")
    other.push(["trials/a"])
    # The first machine is given the trial again, by a process that knows nothing of the one before.
    write(first.folder / record, "running, and never copied")
    again = Mirror("memory://on", first.folder)
    again.pull(["trials/a"], theirs=True)
    assert (first.folder / record).read_text() == "finished elsewhere"
    again.push()
    other.pull()
    assert (other.folder / record).read_text() == "finished elsewhere"


def test_a_driver_copies_records_and_brings_no_checkpoint(tmp_path: Path) -> None:
    worker, driver = (
        Mirror("memory://roles", tmp_path / "worker"),
        Mirror("memory://roles", tmp_path / "driver", True),
    )
    run = worker.folder / "trials" / "a"
    write(run / "checkpoints" / "stage-1.safetensors", "weights")
    write(run / "state.json", named([("stage-1.safetensors", checksum("weights"))]))
    write(run / "trial.json", "running")
    worker.push(["trials/a"])
    driver.pull()
    copy = driver.folder / "trials" / "a"
    assert sorted(file.name for file in copy.iterdir()) == ["state.json", "trial.json"]
    write(copy / "trial.json", "pruned: others were better")
    write(copy / "state.json", "what no driver writes")
    driver.push()
    worker.pull(["trials/a"], theirs=True)
    assert (run / "trial.json").read_text().startswith("pruned") and json.loads(
        (run / "state.json").read_text()
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9/x", "ClientConnectorError: Cannot connect"),
        ("data://a", "Read only filesystem"),
        ("hf://datasets/a", "Invalid HF URI"),
    ],
)
def test_storage_that_cannot_be_written_is_known_at_once(tmp_path: Path, address: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        Mirror(address, tmp_path)
    assert f"the storage at {address} cannot be used (" in str(refused.value) and said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_dry_run_reads_storage_and_writes_nothing_there(tmp_path: Path) -> None:
    Mirror("memory://dry/run", tmp_path, dry=True)
    assert not MemoryFileSystem().exists("/dry")
    for address, said in (("nowhere://a", "Protocol not known"), ("http://127.0.0.1:9/x", "Cannot connect")):
        with pytest.raises(UserError, match=f"the storage at {address} cannot be used .*{said}"):
            Mirror(address, tmp_path, dry=True)


@pytest.mark.parametrize("refusing", ["pipe_file", "find", "rm_file"])
def test_storage_that_may_not_be_used_in_one_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    Mirror("memory://ways", tmp_path)
    assert MemoryFileSystem().find("/ways") == [], "nothing is left of the trial"
    monkeypatch.setattr(MemoryFileSystem, refusing, refuse)
    with pytest.raises(UserError, match=r"cannot be used \(PermissionError: Access Denied\)"):
        Mirror("memory://ways", tmp_path)


def test_a_file_system_that_is_not_installed_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install it")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    for address, package in {
        "s3://a": "s3fs",
        "gs://a": "gcsfs",
        "abfs://a": "adlfs",
        "az://a": "adlfs",
    }.items():
        with pytest.raises(UserError, match=f"; pip install {package}, or choose a local --output"):
            Mirror(address, tmp_path)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("s3:/b/a", "s3://b/a"), ("s3:b/a", "s3://b/a"), ("gs:/b", "gs://b"), ("file:/a/b", "/a/b")],
)
def test_an_address_that_lacks_a_slash_is_no_folder(slip: str, meant: str) -> None:
    with pytest.raises(
        UserError, match=rf"^'{slip}' looks like .*; write {meant}, or \./{slip} for a folder"
    ):
        local_folder(slip)


def test_which_addresses_are_folders() -> None:
    for path in ("c:/sweeps/a", r"c:\sweeps\a", "run:3", "./s3:/b/a"):
        assert is_local(path)
    assert is_local("runs/a") and is_local("file:///a/b") and not is_local("s3://bucket/a")
    assert local_folder("file:///a/b") == Path("/a/b")
    assert local_folder("s3://bucket/a") != local_folder("s3://bucket/b")


def test_time_left_follows_the_pace_and_the_front_has_no_beaten_trial() -> None:
    def trial(number: int, status: Status, speciality: float, generality: float) -> Standing:
        return Standing(str(number), "m", status, 0, speciality, generality)

    trials = [trial(1, "finished", 0.9, 0.2), trial(2, "finished", 0.5, 0.8), trial(3, "finished", 0.4, 0.7)]
    state = SweepState(name="s", mode="curve", planned=9, seconds=20.0, resumed=100.0)
    assert time_left(state, 3, now=110.0) == 60.0  # 30 s for three, six to go
    assert [trial.id for trial in best(trials)] == ["1", "2"]
    same = [
        *trials,
        trial(4, "finished", 0.9, 0.2),
        trial(5, "finished", 0.9, 0.1),
        trial(6, "running", 1.0, 1.0),
    ]
    assert [trial.id for trial in best(same)] == ["1", "2"], (
        "of equals the first; what has equal speciality is beaten"
    )
    assert time_left(state, 0, now=110.0) is None

"""A name that a file holds never leads out of its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_forget.comparison.trials import Trial, load_trial, load_trials
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside
from cl_forget.training.checkpoints import Checkpoint, RunFolder
from cl_forget.weights.checkpoint import open_checkpoint

BAD = [
    "/etc/passwd", "../victim", "a/../../victim", "..", ".", "", "a//b", "a/", "C:\\x", "C:x", "..\\victim", "a\\b",
    "a\0b", "a\nb", 3, None, ["a"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_names_that_leave_their_folder(tmp_path: Path, name: object) -> None:
    with pytest.raises(UserError, match="no name inside") as caught:
        inside(tmp_path, name, "a file")
    assert "\n" not in str(caught.value)


def test_names_that_stay(tmp_path: Path) -> None:
    for name in ("a", "a.b", "..a", "model-00001-of-00002.safetensors", "sub/a", "ümläut"):
        assert inside(tmp_path, name, "a file") == tmp_path / name


def test_links(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "real").write_text("x")
    os.symlink(folder / "real", folder / "within")
    os.symlink(tmp_path / "victim", folder / "out")
    os.symlink(tmp_path, folder / "up")
    assert inside(folder, "within", "a file")
    for name in ("out", "up/victim"):
        with pytest.raises(UserError, match="a link that leaves"):
            inside(folder, name, "a file")


def test_the_hubs_cache_links_to_its_blobs(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0f3a", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "c0ffee").write_text("x")
    os.symlink("../../blobs/c0ffee", snapshot / "model.safetensors")
    os.symlink("../../../secret", snapshot / "other.safetensors")
    assert inside(snapshot, "model.safetensors", "an index")
    with pytest.raises(UserError, match="leaves"):
        inside(snapshot, "other.safetensors", "an index")


@pytest.mark.parametrize("name", ["ABSOLUTE", "../victim/model.safetensors", "link.safetensors"])
def test_a_shard_outside_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    victim, tuned = tmp_path / "victim" / "model.safetensors", tmp_path / "tuned"
    victim.parent.mkdir()
    tuned.mkdir()
    save_file({"a": torch.ones(2)}, victim)
    os.symlink(victim, tuned / "link.safetensors")
    before = victim.read_bytes()
    shard = str(victim) if name == "ABSOLUTE" else name
    index = {"metadata": {}, "weight_map": {"a": shard}}
    (tuned / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no name inside|leaves"):
        open_checkpoint(tuned).write(tmp_path / "out", lambda _: torch.zeros(2))
    assert victim.read_bytes() == before and not (tmp_path / "out").exists()


def test_what_lies_beside_the_weights_is_not_copied_through_links(tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    save_file({"a": torch.ones(2)}, tuned / "model.safetensors")
    (tmp_path / "secret.txt").write_text("secret")
    os.symlink(tmp_path / "secret.txt", tuned / "README.md")
    open_checkpoint(tuned).write(tmp_path / "out", lambda _: torch.zeros(2))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_stage_files_and_trials(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for name in ("../state.json", "/etc/passwd"):
        named = Checkpoint.model_construct(file=name, sha256="0")  # a state that names it is refused before
        with pytest.raises(UserError, match="no name inside"):
            folder.load(named)
        with pytest.raises(UserError, match="no name inside"):
            RunFolder(tmp_path / "other").adopt(folder, named)
    Trial(sweep="s", id="a-1", method="m").save(tmp_path)
    file = tmp_path / "trials" / "a-1" / "trial.json"
    good = json.loads(file.read_text())
    for field in ("id", "folder"):
        file.write_text(json.dumps({**good, field: "../../victim"}))
        with pytest.raises(UserError, match="not a trial of this version"):
            load_trials(tmp_path)
    assert load_trial(tmp_path, "nothing") is None

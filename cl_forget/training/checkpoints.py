"""Checkpoints: one safetensors file and its checksum, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside, whole, write_text
from cl_forget.ground.tensors import load_tensors, save_tensors


def flatten(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Named groups of tensors as one flat dict: "group\\tname" -> tensor."""
    return {
        f"{group}\t{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()
    }


def unflatten(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of `flatten`; empty groups are not remembered."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("\t")
        groups.setdefault(group, {})[name] = tensor
    return groups


class RunFolder:
    """The folder of one run: what it has done so far, and what it will need to go on.

    `state.json` is the single source of truth and is replaced whole; it names the checkpoint files in use
    with their checksums, so a run killed at any instant finds either the old state or the new one.

    Args:
        path: the folder; made if missing.
        lasting: whether it stays when the run has ended.

    Raises:
        UserError: it cannot be written to.
    """

    def __init__(self, path: Path, lasting: bool = True) -> None:
        self.path, self.lasting = path, lasting
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            probe = path / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"cannot write to {path}: {error.strerror}; choose another --output.") from None

    @property
    def state(self) -> dict[str, Any]:
        """What `state.json` holds; empty for a new run."""
        file = self.path / "state.json"
        if not file.exists():
            return {}
        try:
            state = json.loads(file.read_text())
        except ValueError:
            state = None
        if not isinstance(state, dict) or "key" not in state:
            raise UserError(f"{file} is not whole; run again without --resume to start over.")
        return state

    def commit(self, state: dict[str, Any]) -> None:
        """Replace the state; checkpoint files it no longer names are deleted."""
        write_text(self.path / "state.json", json.dumps(state, indent=1))
        named = {entry["file"] for entry in [*state.get("stages", []), state.get("step")] if entry}
        for file in (self.path / "checkpoints").iterdir():
            if file.name not in named:
                file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything: a run that starts over."""
        for file in [
            self.path / "result.json",  # first: no report takes it for the result of what is begun now
            *(self.path / "checkpoints").iterdir(),
            self.path / "state.json",
            self.path / "events.jsonl",
        ]:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.path / "wandb", ignore_errors=True)

    def save(self, name: str, groups: dict[str, dict[str, Tensor]]) -> dict[str, str]:
        """Write a checkpoint; the entry returned goes into the state."""
        file = f"{name}.safetensors"
        return {"file": file, "sha256": save_tensors(self.path / "checkpoints" / file, flatten(groups))}

    def adopt(self, donor: RunFolder, entry: dict[str, Any]) -> None:
        """Make a checkpoint of another run this one's too: a second name of the same file where that is possible."""
        source, target = (folder._checkpoint(entry) for folder in (donor, self))
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            with whole(target) as temporary:
                shutil.copyfile(source, temporary)

    def load(self, entry: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
        """Read the checkpoint that an entry of the state names."""
        return unflatten(load_tensors(self._checkpoint(entry), entry["sha256"]))

    def _checkpoint(self, entry: dict[str, Any]) -> Path:
        return inside(self.path / "checkpoints", entry["file"], self.path / "state.json")


class FollowedFolder(RunFolder):
    """The folder of a run that another process writes: it is read here, and never changed."""

    def __init__(self, path: Path) -> None:
        self.path, self.lasting = path, True

    def commit(self, state: dict[str, Any]) -> None:
        """Nothing: the other process does."""

    def clear(self) -> None:
        """Nothing: the other process does."""

    def save(self, name: str, groups: dict[str, dict[str, Tensor]]) -> dict[str, str]:
        """Nothing: the other process does, and says what the entry is."""
        return {}

    def adopt(self, donor: RunFolder, entry: dict[str, Any]) -> None:
        """Nothing: the other process does."""

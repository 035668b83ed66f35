"""Checkpoints: one safetensors file and its checksum, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside, sync, whole, write_text
from cl_forget.ground.records import Cost, Fingerprints, Row
from cl_forget.ground.tensors import check_tensors, load_tensors, save_tensors
from cl_forget.weights.reading import SafetensorsFile

_MEND = "restore it from a copy and --resume, or start over with --overwrite"


Groups = dict[str, dict[str, Tensor]]
"""Tensors by group and name: of the model, of a method's state, of the optimiser."""


def flatten(groups: Groups) -> dict[str, Tensor]:
    """Named groups of tensors as one flat dict: "group\\tname" -> tensor."""
    return {
        f"{group}\t{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()
    }


def unflatten(tensors: dict[str, Tensor]) -> Groups:
    """The inverse of `flatten`; empty groups are not remembered."""
    groups: Groups = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("\t")
        groups.setdefault(group, {})[name] = tensor
    return groups


KEPT = ("state.json", "events.jsonl", "understood.json", "samples.parquet", "checkpoints", "trial.json")
"""What stands in a run's folder and is no model."""


class Checkpoint(BaseModel):
    """A checkpoint file in use, as `state.json` names it."""

    model_config = ConfigDict(extra="allow")

    file: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    sha256: str


class Stage(Checkpoint):
    """The checkpoint after a stage, and what the run had cost then."""

    cost: Cost = Cost()


class InStage(Checkpoint):
    """The checkpoint inside a stage, and what the frozen models had been asked in it."""

    asked: dict[str, list[str]] = {}


class State(BaseModel):
    """What `state.json` holds; a run goes on from it.

    Attributes:
        key: of the run, as `Run.key` gives it.
        run: its settings, without secrets.
        training_keys: as `Run.training_keys` gives them.
        stages: the checkpoint after each stage done.
        step: the checkpoint inside the stage under way.
        rows: what was measured.
        cost: so far.
        events: how many lines of `events.jsonl` belong to all this.
        finished: whether `result.json` is there.
        tracked_as: the identity of the run in W&B.
        fingerprints: of the base model and the data.
        conditions: under which it began, as `environment.conditions` gives them.
        changed: which of these were others when it was resumed, in words.
        exported: what else the run has written into its folder.
        dropped: how many stages' checkpoints were deleted after its end.
    """

    model_config = ConfigDict(extra="allow")

    key: str
    run: dict[str, Any] = {}
    training_keys: list[str] = []
    stages: list[Stage] = []
    step: InStage | None = None
    rows: list[Row] = []
    cost: Cost = Cost()
    events: NonNegativeInt = 0
    finished: bool = False
    tracked_as: str | None = None
    fingerprints: Fingerprints | None = None
    conditions: dict[str, Any] = {}
    changed: list[str] = []
    exported: list[Annotated[str, Field(pattern=r"^\w[\w.-]*$")]] = []
    dropped: NonNegativeInt = 0


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
        except OSError as error:
            raise UserError(f"cannot write to {path}: {error.strerror}; choose another --output.") from None

    @property
    def state(self) -> State | None:
        """What `state.json` holds; None for a new run.

        Raises:
            UserError: it is no such file.
        """
        file = self.path / "state.json"
        try:
            return State.model_validate_json(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValidationError, RecursionError) as error:
            raise UserError(f"{file} is not whole ({_reason(error)}); {_MEND}.") from None

    @property
    def used(self) -> bool:
        """Whether a run has left anything here."""
        return any((self.path / name).exists() for name in ("state.json", "result.json")) or any(
            (self.path / "checkpoints").glob("*.safetensors")
        )

    def holds_result(self, state: State) -> bool:
        """Whether a run that has finished can be read; if not, whether its checkpoints can make the result again.

        Raises:
            UserError: neither.
        """
        if (self.path / "result.json").exists():
            return True
        if state.dropped:  # checkpoints are not kept for ever
            raise UserError(f"{self.path / 'result.json'} is missing; {_MEND}.")
        files = [self.path / "checkpoints" / entry.file for entry in state.stages]
        if not all(file.is_file() for file in files):
            raise UserError(f"{self.path / 'result.json'} is missing; {_MEND}.")
        return False

    def written_since(self, moment: float) -> list[str]:
        """What was written into the folder since a moment (seconds since 1970), apart from the state."""
        entries = (path for path in self.path.iterdir() if path.name[0] != "." and path.name not in KEPT)
        return sorted(path.name for path in entries if path.lstat().st_mtime >= moment - 1)

    def commit(self, state: State) -> None:
        """Replace the state; checkpoint files it no longer names are deleted."""
        write_text(self.path / "state.json", json.dumps(state.model_dump(mode="json"), indent=1))
        named = {entry.file for entry in [*state.stages, state.step] if entry}
        for file in (self.path / "checkpoints").iterdir():
            if file.name not in named:
                file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything: a run that starts over."""
        try:
            exported = self.state.exported if self.state else []
        except UserError:  # it is not whole, and so does not say what the run exported
            exported = []
        _remove(self.path / "result.json")  # first: no report takes it for the result of what is begun now
        _remove(self.path / "state.json")  # second: it would name checkpoints that are gone
        for file in (self.path / "checkpoints").iterdir():
            _remove(file)
        for name in ("events.jsonl", "wandb", *exported):
            _remove(self.path / name)
        for file in self.path.glob("items*.parquet"):
            _remove(file)

    def save(self, name: str, groups: Groups) -> Checkpoint:
        """Write a checkpoint; the entry returned goes into the state."""
        file = f"{name}.safetensors"
        return Checkpoint(file=file, sha256=save_tensors(self.path / "checkpoints" / file, flatten(groups)))

    def adopt(self, donor: RunFolder, entry: Checkpoint) -> None:
        """Make a checkpoint of another run this one's too: a second name of the same file where that is possible."""
        source, target = (folder._checkpoint(entry) for folder in (donor, self))
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
            sync(target.parent)
        except OSError:  # another file system, or one without links
            with whole(target) as temporary:
                shutil.copyfile(source, temporary)

    def load(self, entry: Checkpoint) -> Groups:
        """Read the checkpoint that an entry of the state names."""
        return unflatten(load_tensors(self._checkpoint(entry), entry.sha256))

    def open(self, entry: Checkpoint, device: torch.device) -> dict[str, Mapping[str, Tensor]]:
        """As `load`, but each tensor is read when it is asked for, so that many checkpoints can be open at once.

        Args:
            entry: names the checkpoint.
            device: where its tensors go.
        """
        path = self._checkpoint(entry)
        check_tensors(path, entry.sha256)
        file = SafetensorsFile(path)
        groups = {name.partition("\t")[0] for name in file.infos}
        return {group: StoredTensors(file, group, device) for group in groups}

    def _checkpoint(self, entry: Checkpoint) -> Path:
        return inside(self.path / "checkpoints", entry.file, self.path / "state.json")


class StoredTensors(Mapping[str, Tensor]):
    """A group of a checkpoint, each tensor read anew whenever it is asked for.

    Args:
        file: the checkpoint.
        group: its name in it.
        device: where the tensors go.
    """

    def __init__(self, file: SafetensorsFile, group: str, device: torch.device) -> None:
        self._file, self._device = file, device
        self._prefix = f"{group}\t"
        self._names = [
            name.removeprefix(self._prefix) for name in file.infos if name.startswith(self._prefix)
        ]

    def __getitem__(self, name: str) -> Tensor:
        if self._prefix + name not in self._file.infos:
            raise KeyError(name)
        return self._file.load(self._prefix + name).to(self._device)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class FollowedFolder(RunFolder):
    """The folder of a run that another process writes: it is read here, and never changed."""

    def __init__(self, path: Path) -> None:
        self.path, self.lasting = path, True

    def commit(self, state: State) -> None:
        """Nothing: the other process does."""

    def clear(self) -> None:
        """Nothing: the other process does."""

    def save(self, name: str, groups: Groups) -> Checkpoint:
        """Nothing: the other process does, and says what the checksum is."""
        return Checkpoint(file=f"{name}.safetensors", sha256="")

    def adopt(self, donor: RunFolder, entry: Checkpoint) -> None:
        """Nothing: the other process does."""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """Why a state was refused, in a few words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if not isinstance(error, ValidationError):
        return "too deep"
    first = error.errors(include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]

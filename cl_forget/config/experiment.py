"""The typed experiment file: several methods and seeds of one comparison."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from cl_forget.config.arms import Arm, ArmInput, ArmItem, as_arm, settings_of
from cl_forget.config.explaining import Misplaced
from cl_forget.config.reading import load_file
from cl_forget.config.run import (
    FOLDER_BYTES,
    ArmName,
    DataInput,
    FolderName,
    MitigationInput,
    MitigationItem,
    Run,
    Seeds,
    Shared,
    StreamInput,
    arm_name,
    compose,
)
from cl_forget.config.tracking import Tracking
from cl_forget.evaluation.options import Evaluation
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.models.options import TextOptions
from cl_forget.training.options import Training


class Experiment(Shared):
    """The experiment file.

    Attributes:
        name: of the folder its results go to.
        mitigations: the methods of a single arm, in place of `methods`; none of the two is plain fine-tuning.
        methods: arm name -> list of mitigations, or `{mitigations: [...], train: {lr: 3e-3}}` for an arm with
            settings of its own.
        seeds: each method is run once per seed, paired.
    """

    name: FolderName = "experiment"
    mitigations: list[MitigationItem] | None = None
    methods: dict[ArmName, ArmItem] | None = None
    seeds: Seeds = Field(default=[0])

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str = ...,
            imports: Sequence[str] = ...,
            model: str,
            stream: StreamInput,
            mitigations: Sequence[MitigationInput] | None = ...,
            methods: Mapping[str, ArmInput] | None = ...,
            seeds: Sequence[int] = ...,
            train: Training | Mapping[str, Any] = ...,
            text: TextOptions | Mapping[str, Any] = ...,
            suites: Sequence[DataInput] = ...,
            probes: Sequence[DataInput] = ...,
            evaluate: Evaluation | Mapping[str, Any] = ...,
            track: Tracking | Mapping[str, Any] = ...,
        ) -> None: ...

    @model_validator(mode="after")
    def _one_way_to_name_methods(self) -> Experiment:
        if self.mitigations is not None and self.methods is not None:
            raise ValueError("choose one of `mitigations` (a single arm) and `methods` (named arms)")
        if self.methods is None and self.mitigations is None:
            for field in {"methods", "mitigations"} & self.model_fields_set:
                raise ValueError(f"`{field}` is empty; name a method, or leave it out for plain fine-tuning")
        if self.methods is not None and not self.methods:
            raise ValueError("`methods` is empty; name at least one, for instance `full fine-tuning: []`")
        folders: dict[str, str] = {}
        for arm, own in self.arms().items():
            if (taken := folders.setdefault(folder_name(arm), arm)) != arm:
                raise ValueError(f"methods '{taken}' and '{arm}' would share a folder; rename one")
            settings = settings_of(self, arm, own)
            try:
                compose(own.mitigations, settings["train"])
            except UserError as error:
                where = ("mitigations",) if self.methods is None else ("methods", arm)
                raise Misplaced(f"method '{arm}': {error}", *where) from None
        return self

    def arms(self) -> dict[str, Arm]:
        """Arm name -> its mitigations and its own settings."""
        if self.methods is not None:
            return {name: as_arm(arm) for name, arm in self.methods.items()}
        mitigations = list(self.mitigations or [])
        return {arm_name(mitigations): Arm(mitigations=mitigations)}

    def runs(self) -> list[Run]:
        """One run per method and seed; all methods of a seed stand together."""
        shared = {field: getattr(self, field) for field in Shared.model_fields}
        shared["track"] = self.track.resolved(group=self.name)
        arms = {
            name: {**shared, **settings_of(self, name, arm), "mitigations": arm.mitigations}
            for name, arm in self.arms().items()
        }
        return [Run(method=name, seed=seed, **fields) for seed in self.seeds for name, fields in arms.items()]


def folder_name(method: str) -> str:
    """A method's name made safe for file systems: letters and digits of any script, points and dashes.

    A name too long for them is cut, and ends with its hash instead.
    """
    name = re.sub(r"(?:[^\w.]|_)+", "-", method).strip("-").lower() or "method"
    if len(name.encode()) <= FOLDER_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: FOLDER_BYTES - 9].decode(errors='ignore').rstrip('-.')}-{digest}"


def load_experiment(path: StrPath, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and apply `key=value` overrides.

    Args:
        path: YAML file.
        overrides: "train.lr=1e-4", "seeds=[0,1]", "methods.LDIFS.0.ldifs.strength=2",
            "methods.LoRA.train.lr=1e-3"; values are YAML.

    Raises:
        UserError: one line with file, line, field, what is wrong and the nearest valid name.
    """
    return load_file(path, Experiment, overrides)

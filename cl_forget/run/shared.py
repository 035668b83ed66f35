"""What the runs on one model, stream and set of suites have in common: loaded once, used by each of them."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import torch

from cl_forget.config.run import Run
from cl_forget.ground.environment import cache_folder
from cl_forget.ground.environment import device as default_device
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints, Row
from cl_forget.models import load_model
from cl_forget.models.base import FoundationModel, Prepared
from cl_forget.run.needs import Needs, needs
from cl_forget.streams import load_probes, load_stream, load_suite, load_suites
from cl_forget.streams.base import Experience, ImageData
from cl_forget.streams.text import TextData
from cl_forget.streams.understood import Role, Understood, understand
from cl_forget.training.context import Weights
from cl_forget.training.frozen import FrozenCache, FrozenModel
from cl_forget.training.head import fit_first_heads, starts_from_probe


class Setup:
    """The pre-trained model and the data of a run, nothing of which a run ever changes.

    Args:
        run: names the model, the stream, the suites and the probes.
        device: where the model lies; None for the GPU if there is one.

    Attributes:
        base: the frozen pre-trained model, with a head for every task of the stream.
        weights: θ0, every tensor of it by name; read-only.
        cache: where the base's outputs are kept.
        experiences, suites, probes: the data.
        prepared: (experience, split) -> samples in the model's format, filled as they are asked for.
        measured: what is evaluated -> the row it gave; filled by runs with the last row of each.

    Raises:
        UserError: the model or the data cannot be had, or two experiences share a name.
    """

    def __init__(self, run: Run, device: str | None = None) -> None:
        self.experiences = load_stream(run.stream)
        self.suites = load_suites(run.suites)
        self.probes = load_probes(run.probes)
        check_names(self.experiences, self.suites, self.probes)
        self.cache = FrozenCache(cache_folder())
        with torch.random.fork_rng():  # weights never depend on who loads them first
            torch.manual_seed(0)
            model = load_model(run.model, run.text)
            model.keep = self.cache.kept
            for experience in self.experiences:
                model.add_task(experience)
        check_kinds(model, self.experiences, self.suites, self.probes)
        check_suites(model, self.suites)
        self.base = FrozenModel(model.to(device or default_device()), self.experiences, copy=False)
        self.prepared: dict[tuple[str, str], Prepared] = {}
        self.measured: dict[str, Row] = {}
        fit_first_heads(self.base, self.cache, self.experiences, self.prepared)
        self.weights: Weights = {n: t.detach().clone() for n, t in model.state_dict().items()}

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Hashes of the base model without heads, and of every task, suite and probe set."""
        groups = (self.experiences, self.suites, self.probes)
        data = {experience.name: experience.fingerprint for group in groups for experience in group}
        return Fingerprints(model=self.base.fingerprint(), data=data)

    @cached_property
    def understood(self) -> list[Understood]:
        """What was understood of every task, suite and probe set."""
        return understood(self.base.model, self.experiences, self.suites, self.probes)

    def needs(self, folder: Path) -> Needs:
        """Memory and disk that a run takes whose results go to `folder`."""
        return needs(self.base.model, self.experiences, [*self.suites, *self.probes], folder)

    def model(self) -> FoundationModel:
        """A fresh copy of the pre-trained model, to be tuned."""
        return copy.deepcopy(self.base.model)

    def check(self, run: Run) -> None:
        """Refuse what the model cannot give a run.

        Raises:
            UserError: a method names what is not there, or heads cannot start as asked.
        """
        check_model(run, self.base.model, self.experiences)

    @staticmethod
    def key(run: Run) -> str:
        """Equal for runs that can share one setup."""
        whole = run.model_dump(mode="json")  # `include` would not leave the mitigations out
        fields = [whole[name] for name in ("model", "text", "stream", "suites", "probes")]
        return json.dumps([fields, run.evaluate.limit], sort_keys=True)


class Setups:
    """The setups a process has loaded, the ones used last first; a factory that remembers.

    Args:
        room: how many are kept; each holds a model and its data.
        device: where their models lie, as for `Setup`.
    """

    def __init__(self, room: int = 2, device: str | None = None) -> None:
        self.room, self.device = room, device
        self._known: OrderedDict[str, Setup] = OrderedDict()

    def clear(self) -> None:
        """Let go of all of them."""
        self._known.clear()

    def get(self, run: Run) -> Setup:
        """The setup of a run, loaded if it is not there."""
        key = Setup.key(run)
        if key not in self._known:
            while len(self._known) >= self.room:
                self._known.popitem(last=False)
            self._known[key] = Setup(run, self.device)
        self._known.move_to_end(key)
        return self._known[key]


def understood(
    model: FoundationModel, tasks: list[Experience], suites: list[Experience], probes: list[Experience]
) -> list[Understood]:
    """The records of all data, one sample of each shown as `model` sees it."""
    groups: tuple[tuple[Role, list[Experience]], ...] = (
        ("task", tasks),
        ("suite", suites),
        ("probe", probes),
    )
    return [understand(experience, role, model.see) for role, group in groups for experience in group]


def check_model(run: Run, model: FoundationModel, tasks: list[Experience]) -> None:
    """Refuse what a run names and this model, these tasks or this machine do not have; as `Setup.check`.

    Everything that a method names is looked up: depths, blocks, parameters, other suites and streams.
    """
    chain = run.chain()
    chain.check(model, tasks)
    for spec in chain.references():
        check_kinds(model, [load_suite(spec)])
    starts_from_probe(run.train.head, model, tasks)


def check_names(*groups: list[Experience]) -> None:
    """Refuse an experience that is named twice, in whatever roles."""
    seen: set[str] = set()
    for experience in (experience for group in groups for experience in group):
        if experience.name in seen:
            raise UserError(
                f"'{experience.name}' is named twice among stream, suites and probes: list it once, or give one "
                "another name with the option `name:`."
            )
        seen.add(experience.name)


def check_kinds(model: FoundationModel, *groups: list[Experience]) -> None:
    """Refuse data that the model does not read, such as texts for CLIP, before anything is trained."""
    for experience in (experience for group in groups for experience in group):
        for split, data in experience.splits().items():
            if isinstance(data, ImageData | TextData):
                model.prepare(data.subset(range(1)), experience, split)


def check_suites(model: FoundationModel, suites: list[Experience]) -> None:
    """Refuse suites that the model has no answers for, such as classes that a classifier does not know."""
    for suite in suites:
        model.check_suite(suite)

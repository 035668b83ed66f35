"""Any classifier as a foundation model, so that mitigations can act on it inside Avalanche."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from avalanche.models.utils import avalanche_forward, is_multi_task_module
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared
from cl_forget.streams.base import Data, Experience, LabelSpace

_keys = itertools.count()


class ModuleModel(FoundationModel):
    """A plain classifier: a module from inputs to (batch, classes) logits.

    Its parameters are the module's own, named `module.<name>`; those that require a gradient now are the
    ones that fine-tuning updates.

    Args:
        module: the classifier; a multi-task module of Avalanche is called with task labels.
        features: names of submodules whose outputs are the features by depth, shallow to deep (LDIFS).
        embedding: name of the submodule whose output is the embedding; None takes what goes into the last
            linear layer.

    Raises:
        UserError: there is no such submodule.
    """

    def __init__(self, module: nn.Module, features: Sequence[str] = (), embedding: str | None = None) -> None:
        super().__init__()
        self.module = module
        self.spec = f"avalanche:{type(module).__name__}"
        self.depths = self.default_depths = tuple(features)
        known = [name for name, _ in module.named_modules() if name]
        for name in [*features, *([embedding] if embedding else [])]:
            if name not in known:
                raise UserError(f"{self.spec} has no submodule '{name}'.{closest(name, known)}")
        linear = [name for name, child in module.named_modules() if isinstance(child, nn.Linear)]
        self._last = linear[-1] if linear else None
        self._embedding = embedding
        self._tunable = [name for name, p in self.named_parameters() if p.requires_grad]

    # -- a pass ----------------------------------------------------------------------------------------
    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        """One pass; `batch.inputs` is (inputs, task labels)."""
        if embedding is not None:
            return Forward(self.head_logits(batch.samples.experience, embedding), batch.targets, embedding)
        with self.capture(depths) as found:
            logits = avalanche_forward(self.module, *batch.inputs)
        return self.read(batch, logits, found, depths)

    @contextlib.contextmanager
    def capture(self, depths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """While open, a pass of the module leaves its features and embedding in the dict given."""
        unknown = [depth for depth in depths if depth not in self.depths]
        if unknown:
            raise UserError(
                f"{self.spec} has no depth '{unknown[0]}'; name it among as_plugin's features. "
                f"Known: {', '.join(self.depths) or 'none'}."
            )
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda _m, _i, output: found.__setitem__(name, output)

        hooks = [
            self.module.get_submodule(name).register_forward_hook(keep(name))
            for name in {*depths, *([self._embedding] if self._embedding else [])}
        ]
        if self._last is not None:
            last = self.module.get_submodule(self._last)
            hooks.append(
                last.register_forward_hook(lambda _m, i, out: found.update({"<in>": i[0], "<out>": out}))
            )
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    def read(self, batch: Batch, logits: Tensor, found: dict[str, Tensor], depths: Sequence[str]) -> Forward:
        """The forward of a pass that was captured."""
        embedding = found[self._embedding] if self._embedding else found.get("<in>", logits)
        features = {depth: _tokens(found[depth]) for depth in depths}
        return Forward(logits, batch.targets, embedding.flatten(1), features)

    def head_logits(self, experience: Experience, embedding: Tensor) -> Tensor:
        """(batch, classes) what the last linear layer says.

        Raises:
            UserError: there is none, or each task has a head of its own.
        """
        if self._last is None or self._embedding is not None or is_multi_task_module(self.module):
            raise UserError(
                f"{self.spec} has no single linear layer that turns embeddings into logits; use kd instead of "
                "methods that run the head by itself."
            )
        head: nn.Module = self.module.get_submodule(self._last)
        return head(embedding)

    # -- parameters ------------------------------------------------------------------------------------
    def tunable(self, experience: Experience) -> list[str]:
        """What required a gradient when the module was given."""
        return list(self._tunable)

    def head_parameters(self, experience: Experience) -> list[str]:
        """Weight and bias of the last linear layer."""
        if self._last is None:
            return []
        head = f"module.{self._last}."
        return [name for name in self._tunable if name.startswith(head)]

    def block_of(self, parameter: str) -> int | None:
        """Position among `depths` of the submodule it belongs to."""
        for position, depth in enumerate(self.depths):
            if parameter.startswith(f"module.{depth}."):
                return position
        return None

    @property
    def blocks(self) -> int:
        """Number of depths."""
        return len(self.depths)

    # -- what Avalanche does itself ----------------------------------------------------------------------
    def prepare(self, data: Data, experience: Experience, split: str, augment: str = "none") -> Prepared:
        """Not possible: the data are Avalanche's."""
        raise UserError(
            f"{self.spec} takes its data from Avalanche; reference data cannot be prepared for it."
        )

    def add_task(self, experience: Experience) -> None:
        """Nothing: heads are Avalanche's matter."""


class AvalancheSamples(Prepared):
    """The data set of an Avalanche experience in its evaluation view.

    Args:
        dataset: as Avalanche gives it.
        experience: what to call it.
        split: "train" or "validation".
        device: where batches go.
    """

    def __init__(self, dataset: Any, experience: Experience, split: str, device: torch.device) -> None:
        self.dataset = dataset.eval()
        self.experience, self.split, self.device = experience, split, device
        self.key = f"avalanche-{next(_keys)}"
        self.targets: Tensor = torch.tensor([int(target) for target in dataset.targets])

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """Inputs with their task labels."""
        x, y, *rest = self.dataset.collate_fn([self.dataset[int(i)] for i in indices])
        return on_the_fly(x.to(self.device), y.to(self.device), rest[-1:], self, indices)


class LiveSamples(Prepared):
    """Where the minibatches of Avalanche's loop come from: samples without a number, perhaps augmented.

    Args:
        source: the same data, to be read by number.
    """

    deterministic = False

    def __init__(self, source: AvalancheSamples) -> None:
        self.source = source
        self.experience, self.split, self.key = source.experience, source.split, f"{source.key}-live"
        self.targets = source.targets

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """Samples by number, not augmented."""
        return self.source.batch(indices, generator)

    def plain(self) -> Prepared:
        """The same samples by number."""
        return self.source


def on_the_fly(
    x: Tensor, y: Tensor, task_labels: Sequence[Tensor], samples: Prepared, indices: Tensor | None = None
) -> Batch:
    """A batch of what Avalanche's loader gives; `task_labels` is empty or one tensor."""
    labels = task_labels[0].to(x.device) if task_labels else None
    positions = torch.arange(len(x)) if indices is None else indices
    return Batch((x, labels), y, positions, samples)


class _Labels(Data):
    def __init__(self, labels: Any) -> None:
        self.labels, self.fingerprint = labels, f"avalanche-{next(_keys)}"


def named_experience(number: int, targets: Tensor, classes: int) -> Experience:
    """What stands for an Avalanche experience where ours is asked for: a name, a label space, labels."""
    data = _Labels(targets.numpy())
    names = tuple(str(label) for label in range(max(classes, int(targets.max()) + 1)))
    return Experience(f"experience {number}", LabelSpace("avalanche", names), data, data, data)


def _tokens(features: Tensor) -> Tensor:
    """(batch, tokens, width): feature maps as positions, vectors as one token."""
    if features.dim() == 4:
        return features.flatten(2).transpose(1, 2)
    return features[:, None] if features.dim() == 2 else features

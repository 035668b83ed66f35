"""Edits that a formula makes of whole tensors, for `cl-forget repair`: merges of models, and intruder reduction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from torch import Tensor

from cl_forget.auditing.pair import Pair
from cl_forget.mitigations.dare import DARE
from cl_forget.mitigations.intruder_reduction import IntruderReduction
from cl_forget.mitigations.magmax import MagMax
from cl_forget.mitigations.model_stock import ModelStock
from cl_forget.mitigations.opcm import OPCM
from cl_forget.mitigations.shared.merging import Merge
from cl_forget.mitigations.task_arithmetic import TaskArithmetic
from cl_forget.mitigations.ties import TIES
from cl_forget.weights.changes import applied
from cl_forget.weights.interpolation import TensorEdit
from cl_forget.weights.matrices import intruders, intruding, kept_transposed
from cl_forget.weights.merge import in_base

if TYPE_CHECKING:
    from cl_forget.weights.interpolation import Share

MERGES: Mapping[str, type[Merge]] = {
    cls.name: cls for cls in (TaskArithmetic, MagMax, TIES, DARE, ModelStock, OPCM)
}


@dataclass(frozen=True)
class Moved(TensorEdit):
    """θ0 + factor · vector.

    Attributes:
        vector: makes it, or gives the one that is kept.
        factor: a number.
    """

    vector: Callable[[], Tensor]
    factor: float

    def __call__(self, anchor: Tensor, tuned: Tensor) -> Tensor:
        """The edited tensor."""
        return applied(anchor, self.vector().to(anchor.device), self.factor)


@dataclass(frozen=True)
class Shrunk(Moved):
    """θ + factor · vector, the vector being what intruders are of θ.

    Attributes:
        method: which vectors are intruders.
        transposed: whether the weight is kept as (inputs, outputs).
    """

    method: IntruderReduction
    transposed: bool

    def __call__(self, anchor: Tensor, tuned: Tensor) -> Tensor:
        """The edited tensor."""
        return super().__call__(tuned, tuned)

    def added(self, anchor: Tensor, tuned: Tensor) -> tuple[Tensor, Tensor]:
        """The product that is added, one column and row for each intruder."""
        before, after = ((t.mT if self.transposed else t).float() for t in (anchor, tuned))
        found = intruders(before, after, self.method.top, self.method.threshold)
        root = found.sizes.sqrt()
        rows, columns = found.left * (self.factor * root), root[:, None] * found.right
        return (columns.mT, rows.mT) if self.transposed else (rows, columns)


class Formula(ABC):
    """An edit at any setting of its knob.

    Args:
        pair: the models, loaded.

    Attributes:
        knob: what is turned.
        settings: what a search tries.
    """

    knob: str
    settings: tuple[float, ...]

    @property
    @abstractmethod
    def names(self) -> frozenset[str]:
        """The tensors that it edits, by their names in the file."""

    @abstractmethod
    def vector(self, name: str) -> Tensor:
        """What is added, times a factor, made from the files."""

    @abstractmethod
    def edit(self, name: str, vector: Callable[[], Tensor], setting: float) -> TensorEdit:
        """The edit of one tensor."""

    def streamed(self, setting: float) -> Callable[[str], Share]:
        """The edit of each tensor by its name in the file, made when it is asked for."""
        return lambda name: (
            self.edit(name, partial(self.vector, name), setting) if name in self.names else 1.0
        )

    def kept(self) -> Callable[[float], Callable[[str], Share]]:
        """The same for a search, which tries many settings of the same vectors: these stay in memory."""
        vectors = {name: self.vector(name) for name in self.names}
        return lambda setting: (
            lambda name: (
                self.edit(name, partial(vectors.get, name), setting) if name in vectors else 1.0  # type: ignore[arg-type]
            )
        )


class Merging(Formula):
    """A merge of a pair's tuned models."""

    def __init__(self, pair: Pair, method: type[Merge]) -> None:
        self._changes = pair.changes()
        self._own = {pair.file_name(name): name for name in self._changes.names}
        self._method = method()
        self.knob = method.knob or "models"
        self.settings = tuple(v for v in method.grid if v) if method.knob else (float(self._changes.count),)

    @property
    def names(self) -> frozenset[str]:
        """All that hold fractions."""
        return frozenset(self._own)

    @cached_property
    def _merged(self) -> Callable[[str], Tensor]:
        return self._method.merge(self._changes)

    def vector(self, name: str) -> Tensor:
        """The merged change."""
        return self._merged(self._own[name])

    def edit(self, name: str, vector: Callable[[], Tensor], setting: float) -> TensorEdit:
        """θ0 + λ·τ."""
        return Moved(vector, setting if self._method.knob else self._method.factor)


class Reduction(Formula):
    """Intruder reduction of a pair's tuned model."""

    knob = "scale"
    settings = tuple(value for value in IntruderReduction.grid if value != IntruderReduction.absent)

    def __init__(self, pair: Pair) -> None:
        self._base, self._tuned = pair.base.source, pair.tuned.source
        self._method = IntruderReduction()
        self._transposed = {pair.file_name(name) for name in kept_transposed(pair.model)}
        parameters = {pair.file_name(name) for name, _ in pair.model.named_parameters()}
        self._names = frozenset(
            name
            for name, info in self._tuned.infos.items()
            if name in parameters
            and info.dtype.is_floating_point
            and len(info.shape) > 1
            and in_base(self._base, name)
        )

    @property
    def names(self) -> frozenset[str]:
        """The matrices of the model's file."""
        return self._names

    def vector(self, name: str) -> Tensor:
        """What the intruders are of a weight."""
        before = in_base(self._base, name)
        assert before is not None, "looked up above"
        of = self._method.top, self._method.threshold
        return intruding(self._base.load(before), self._tuned.load(name), *of, name in self._transposed)

    def edit(self, name: str, vector: Callable[[], Tensor], setting: float) -> TensorEdit:
        """θ - (1-λ)·the intruders."""
        return Shrunk(vector, setting - 1, self._method, name in self._transposed)


def formula_of(method: str, pair: Pair) -> Formula:
    """The formula of an edit by its name."""
    return Reduction(pair) if method == IntruderReduction.name else Merging(pair, MERGES[method])

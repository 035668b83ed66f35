"""What a method keeps between steps and tasks: named tensors, declared and checked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest

if TYPE_CHECKING:
    from torch import Tensor


class State(dict[str, "Tensor"]):
    """The tensors of one method by name; checkpointed and restored like the model.

    A method says what it keeps in a subclass, which its class names as `keeps`:

        class Path(State):
            step: Tensor         # `state.step`, kept as "step"
            importance: Tensors  # `state.importance[name]`, kept as "importance/<name>"

    What is not declared cannot be kept. To checkpoints a state is a plain dict of tensors.

    Raises:
        UserError: a name is written that the method does not declare, or a value that is no tensor.
    """

    _one: ClassVar[frozenset[str]] = frozenset()
    _many: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        one, many = set(cls._one), set(cls._many)
        for name, kind in inspect.get_annotations(cls).items():
            said = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
            said = said.strip("'\"").rpartition(".")[2]
            if said not in ("Tensor", "Tensors") or name.startswith("_") or hasattr(dict, name):
                raise UserError(
                    f"{cls.__name__}.{name}: a state declares `name: Tensor` or `name: Tensors`, by names that a "
                    "dict does not have itself."
                )
            (one if said == "Tensor" else many).add(name)
        cls._one, cls._many = frozenset(one), frozenset(many)

    def __init__(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.update(tensors or {})

    @classmethod
    def declared(cls) -> list[str]:
        """What may be kept: `name` for one tensor, `name/` for one for each of many names."""
        return sorted([*cls._one, *(f"{name}/" for name in cls._many)])

    def __setitem__(self, key: str, value: Tensor) -> None:
        kind, slash, rest = key.partition("/")
        if key not in self._one and not (slash and rest and kind in self._many):
            known = self.declared()
            raise UserError(
                f"{type(self).__name__} does not declare '{key}'.{closest(kind + slash, known)} Declared: "
                f"{', '.join(known) or 'nothing; give the method a `keeps`, a subclass of State'}."
            )
        if not hasattr(value, "detach"):
            raise UserError(f"{type(self).__name__}: '{key}' is a {type(value).__name__}; keep tensors only.")
        super().__setitem__(key, value)

    def update(self, *tensors: Any, **named: Any) -> None:
        """As of a dict; every name is checked."""
        for key, value in dict(*tensors, **named).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As of a dict; the name is checked."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, tensors: Any) -> Self:  # type: ignore[override, misc]
        self.update(tensors)
        return self

    def __getattr__(self, name: str) -> Any:
        if name in self._many:
            return Tensors(self, name)
        if name in self._one and name in self:
            return self[name]
        what = "nothing is kept yet as" if name in self._one else f"{type(self).__name__} does not declare"
        raise AttributeError(f"{what} '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._many:
            group = Tensors(self, name)
            tensors = dict(value)
            group.clear()
            group.update(tensors)
        else:
            self[name] = value

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class Tensors(MutableMapping[str, "Tensor"]):
    """The tensors that a state keeps under one heading, by name: a view, in the order they were kept."""

    def __init__(self, state: State, heading: str) -> None:
        self._state, self._prefix = state, f"{heading}/"

    def __getitem__(self, name: str) -> Tensor:
        return self._state[self._prefix + name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self._state[self._prefix + name] = value

    def __delitem__(self, name: str) -> None:
        del self._state[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return iter([key[start:] for key in self._state if key.startswith(self._prefix)])

    def __len__(self) -> int:
        return sum(key.startswith(self._prefix) for key in self._state)

    def clear(self) -> None:
        """Drop all of them."""
        for name in self:
            del self[name]

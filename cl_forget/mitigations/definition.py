"""What is checked of a method's class when it is defined: each mistake is one line that names the cure.

A misspelt hook would never be called, and a method that does nothing looks like one that does not work.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, dataclass_transform

from pydantic import BaseModel, Field, PydanticUserError, ValidationError

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.mitigations.claim import Claim
from cl_forget.training.state import State

HOOKS_AT: dict[str, tuple[str, ...]] = {
    "stages": ("arrange",),
    "parameters": (
        "start_task", "shape_parameters", "finish_training", "restore_parameters", "learning_rate_factor",
        "step_share", "should_stop",
    ),
    "data": ("training_data", "sample_weights", "unit_weights", "extra_batches"),
    "loss": ("objective", "penalty", "extra_batches"),
    "gradient": ("add_gradient",),
    "step": ("around_gradient", "around_update", "after_step", "should_stop", "train_task"),
    "weights": ("edit_weights", "next_start"),
}  # fmt: skip
"""The hooks that a method may have its place for."""

DECISIONS = {
    "objective": Claim.TASK_LOSS,
    "train_task": Claim.TRAINING_LOOP,
    "training_data": Claim.TRAINING_DATA,
}
"""Hooks that decide what only one method of a chain may."""

NAME = re.compile(r"[A-Za-z][\w-]*")
SAID = ("name", "place", "title", "formula", "source")
"""Texts that every method has."""


class BadMethod(UserError, TypeError):
    """A method's class contradicts itself or the protocol; the message is one line with the cure."""


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as ModelClass
else:
    ModelClass = type(BaseModel)  # pydantic does not export its metaclass


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class Definition(ModelClass):
    """The class of `Mitigation` and of every method: pydantic's, with its refusals as one line.

    To type checkers it says again what pydantic's own says of constructors, which they do not inherit.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **options: Any) -> Any:
        """Make the class."""
        try:
            return super().__new__(mcs, name, bases, body, **options)
        except PydanticUserError as error:
            found = re.search(r"attribute was detected: `(\w+)|Field '(\w+)' requires a type", str(error))
            if found is None:
                raise BadMethod(f"class {name}: {error.message.splitlines()[0]}") from error
            said = found[1] or found[2]
            if any(hasattr(base, said) for base in bases):
                raise BadMethod(f"class {name}: `{said}` is a hook: write it as a method.") from error
            known = sorted({key for base in bases for key in getattr(base, "__class_vars__", ())})
            raise BadMethod(
                f"class {name}: `{said}` is nothing that a method says.{closest(said, known)} A field has a type: "
                f"`{said}: float = Field(...)`."
            ) from error


def check_class(cls: type[Any], base: type[Any], hooks: Mapping[str, Callable[..., Any]]) -> None:
    """Check a method's class, as far as it can be told without other methods.

    Args:
        cls: the class.
        base: `Mitigation`.
        hooks: what the chain calls, by name, as the base defines it.

    Raises:
        BadMethod: the first mistake.
    """
    try:
        _check_attributes(cls, base)
        _check_hooks(cls, base, hooks)
        _check_place(cls, base)
        _check_claims(cls, base)
        _check_knob(cls)
    except BadMethod as error:
        raise BadMethod(f"class {cls.__name__}: {error}") from None


def _check_attributes(cls: type[Any], base: type[Any]) -> None:
    known = sorted(base.__class_vars__)
    for field in cls.model_fields:
        if hasattr(base, field) or field in known:
            raise BadMethod(
                f"the field `{field}` hides what `Mitigation` means by it: write `{field} = ...` without a type, or "
                "rename the field."
            )
    for attribute in sorted(cls.__class_vars__ - base.__class_vars__):
        if meant := closest(attribute, known, 0.8):
            raise BadMethod(f"`{attribute}` is nothing that a method says.{meant}")
    for attribute in SAID:
        said = getattr(cls, attribute, None)
        if not isinstance(said, str) or not said.strip():
            raise BadMethod(f'`{attribute}` is missing: add `{attribute} = "..."`.')
    if not NAME.fullmatch(cls.name):
        raise BadMethod(f"the name '{cls.name}' is no word: use letters, digits, _ and -.")
    for attribute in ("cost", "advice", "whole_only", "own_head"):
        said = getattr(cls, attribute)
        if not isinstance(said, str) and not (said is None and getattr(base, attribute) is None):
            raise BadMethod(f"`{attribute}` is a reason in words, not {said!r}.")
    for other, reason in _mapping(cls.conflicts).items():
        if not isinstance(reason, str) or len(reason.split()) < 3:
            raise BadMethod(
                f"conflicts['{other}'] gives no reason: say in words why the two cannot be combined."
            )
        if other == cls.name:
            raise BadMethod("`conflicts` names the method itself; a method is listed once in any case.")
    if unknown := sorted(set(cls.later) - set(cls.model_fields)):
        raise BadMethod(f"`later` names '{unknown[0]}', which is no field.")
    if not (isinstance(cls.keeps, type) and issubclass(cls.keeps, State)):
        raise BadMethod("`keeps` is a subclass of State that declares the tensors which the method keeps.")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadMethod('`conflicts` is written as {"other method": "why the two cannot be combined"}.')
    return value


def _check_hooks(cls: type[Any], base: type[Any], hooks: Mapping[str, Callable[..., Any]]) -> None:
    for name in dir(cls):
        if name.startswith("_") or name in cls.model_fields:
            continue
        own = inspect.getattr_static(cls, name)
        if own is inspect.getattr_static(base, name, None):
            continue
        if name in hooks:
            _check_signature(name, own, hooks[name])
        elif isinstance(inspect.getattr_static(base, name, None), property):
            if inspect.isfunction(own):
                raise BadMethod(f"`{name}` is a property: write @property above it.")
        elif not hasattr(base, name) and inspect.isfunction(own):
            meant = closest(name, list(hooks), 0.75)
            if meant or [*inspect.signature(own).parameters][-1:] == ["state"]:
                raise BadMethod(
                    f"`{name}` is no hook.{meant} Hooks: {', '.join(hooks)}. The name of a helper starts with _."
                )


def _check_signature(name: str, own: Any, hook: Callable[..., Any]) -> None:
    wanted = list(inspect.signature(hook).parameters)  # self included
    function = own.__func__ if isinstance(own, (staticmethod, classmethod)) else own
    given = wanted[1:] if isinstance(own, staticmethod) else wanted
    if not callable(function):
        raise BadMethod(f"`{name}` is a hook: write it as a method, `def {name}({', '.join(wanted)})`.")
    if inspect.iscoroutinefunction(function):
        raise BadMethod(f"`{name}` is called without await: write `def {name}({', '.join(wanted)})`.")
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        found = ", ".join(inspect.signature(function).parameters)
        raise BadMethod(f"`{name}({found})` is called as `{name}({', '.join(wanted)})`.") from None


def _check_place(cls: type[Any], base: type[Any]) -> None:
    places = list(HOOKS_AT)
    if cls.place not in places:
        raise BadMethod(f"no place '{cls.place}'.{closest(cls.place, places)} Places: {', '.join(places)}.")
    used = {hook for hooks in HOOKS_AT.values() for hook in hooks if overrides(cls, base, hook)}
    if not used:
        raise BadMethod(
            f"it has no hook, so it does nothing; at place '{cls.place}': {', '.join(HOOKS_AT[cls.place])}."
        )
    if not used.intersection(HOOKS_AT[cls.place]):
        fitting = [place for place in places if used.intersection(HOOKS_AT[place])]
        raise BadMethod(
            f"the place is '{cls.place}', and its hooks ({', '.join(sorted(used))}) act at {' or '.join(fitting)}: "
            f'set `place = "{fitting[0]}"`.'
        )
    if cls.post_hoc and (early := sorted(used - {"edit_weights"})):
        raise BadMethod(
            f"post_hoc methods only edit weights after the task, and `{early[0]}` acts in training: leave out "
            "`post_hoc`."
        )


def _check_claims(cls: type[Any], base: type[Any]) -> None:
    for claim in cls.claims:
        if not isinstance(claim, Claim):
            names = [f"Claim.{each.name}" for each in Claim]
            said = next((f" Did you mean Claim.{each.name}?" for each in Claim if each.value == claim), "")
            raise BadMethod(f"{claim!r} is no claim.{said} Claims: {', '.join(names)}.")
    for hook, claim in DECISIONS.items():
        if overrides(cls, base, hook) and claim not in cls.claims:
            raise BadMethod(
                f"`{hook}` decides the {claim.value}, which only one method of a chain may: add "
                f"`claims = frozenset({{Claim.{claim.name}}})`."
            )


def overrides(cls: type[Any], base: type[Any], hook: str) -> bool:
    """Whether a class implements a hook."""
    return getattr(cls, hook) is not getattr(base, hook)


def _check_knob(cls: type[Any]) -> None:
    fields = list(cls.model_fields)
    if cls.knob is None:
        if tuple(cls.grid) or cls.absent is not None:
            raise BadMethod(
                "`grid` and `absent` are values of a knob: set `knob` to the field they belong to."
            )
        return
    if cls.knob not in fields:
        raise BadMethod(
            f"the knob '{cls.knob}' is no field.{closest(cls.knob, fields)} Fields: {', '.join(fields)}."
        )
    if isinstance(cls.grid, str) or not hasattr(cls.grid, "__len__"):
        raise BadMethod(f"`grid` is a tuple of values: write `grid = ({cls.grid!r},)`.")
    if not cls.grid:
        raise BadMethod(
            f"`grid` is empty: give the values of '{cls.knob}' that curves and sweeps take by default."
        )
    if len(set(cls.grid)) < len(cls.grid):
        raise BadMethod(f"`grid` names a value twice: {cls.grid}.")
    values = [("grid", value) for value in cls.grid]
    values += [("absent", cls.absent)] if cls.absent is not None else []
    for what, value in values:
        if refusal := _refusal(cls, cls.knob, value):
            raise BadMethod(f"`{what}` holds {value!r}, which the field '{cls.knob}' refuses: {refusal}.")


def _refusal(cls: type[Any], field: str, value: Any) -> str | None:
    """What the field says against a value; fields that have to be given are not asked for."""
    try:
        cls(**{field: value})
    except ValidationError as error:
        of_field = [e for e in error.errors() if e["loc"][:1] == (field,)]
        rest = [e for e in error.errors() if e["type"] != "missing"]
        if of_field or rest:
            return str((of_field or rest)[0]["msg"]).rstrip(".")
    return None

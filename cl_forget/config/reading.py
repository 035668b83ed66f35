"""Reading a YAML file as a typed section, with overrides from the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from cl_forget.config.arms import Arm
from cl_forget.config.explaining import Misplaced, explain, foremost, location_of
from cl_forget.config.names import check_names
from cl_forget.config.recorded import check_recorded, is_recorded
from cl_forget.config.run import PLAIN, Shared
from cl_forget.ground.documents import MAX_YAML_CHARACTERS, parse_yaml, read_text
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.imports import bring_in, brought_in
from cl_forget.ground.registry import closest

Named = TypeVar("Named", bound=BaseModel)

Lines = dict[tuple[Any, ...], int]
"""The line of each place in a file."""


class _Kind(NamedTuple):
    """A kind of file.

    Attributes:
        words: what it is called.
        example: one to start from, in experiments/.
        command: what reads it.
        own: fields, of the file or of a method in it, by which one is known that was given to another command.
    """

    words: str
    example: str
    command: str
    own: frozenset[str]


_OF_SWEEPS = (
    "model", "stream", "methods",  # of an experiment as well: unknown only in claims, whose worlds are sweeps
    "space", "mode", "budget", "control", "objectives", "score", "asha", "search_seed", "tune_on", "report_on",
    "protocol", "compose",
)  # fmt: skip

KINDS = {
    "Experiment": _Kind("an experiment", "quickstart.yaml", "run", frozenset({"mitigations"})),
    "Sweep": _Kind("a sweep", "quickstart-sweep.yaml", "sweep", frozenset(_OF_SWEEPS)),
    "Claims": _Kind("a claims file", "ldifs/claims.yaml", "claims", frozenset({"paper", "worlds", "claims"})),
}
"""The kinds of files that are read here, by the names of their records."""


def load_file(path: StrPath, kind: type[Named], overrides: Sequence[str] = (), named: bool = True) -> Named:
    """Read a YAML file as `kind`, named after the file where it gives no name; errors as `load_experiment`.

    Args:
        path: the file.
        kind: its record, one of `KINDS`.
        overrides: as for `load_experiment`.
        named: whether the model and the data that it names have to be known here.
    """
    path, own = Path(path), KINDS[kind.__name__]
    fields, lines = _fields(path, kind, overrides)
    fields = _with_imports(fields, path)
    changed = _changed(overrides)
    try:
        asked = kind(**{"name": re.sub(r"[^\w.-]+", "-", path.stem), **fields})
        if isinstance(asked, Shared) and named:
            check_names(asked)
        return asked
    except ValidationError as error:
        first = foremost(error)
        location = location_of(first)
        message = explain(error, kind)[1]
        if first["type"] == "extra_forbidden" and (other := _kind_with(location, kind.__name__)):
            message = f"is no field of {own.words} but of {other.words}: `cl-forget {other.command} {path}`."
    except Misplaced as error:
        location, message = [*error.location], error.message
    raise UserError(_placed(path, lines, changed, location, message))


@contextmanager
def placed(path: StrPath, kind: type[BaseModel], overrides: Sequence[str] = ()) -> Iterator[None]:
    """Mistakes about an entry of a file that was read (`UserError.entry`) begin with its place in the file.

    Args:
        path, kind, overrides: as it was read by `load_file`.
    """
    try:
        yield
    except UserError as error:
        if error.entry is None:
            raise
        path = Path(path)
        fields, lines = _fields(path, kind, overrides)
        location = next(_places(fields, error.entry), None)
        if location is None:  # written in another way, or by the package
            raise
        raise UserError(_placed(path, lines, _changed(overrides), location, str(error))) from error


_ASKING = ("model", "stream", "tune_on", "report_on", "suites", "probes", "mitigations", "methods")
"""Fields of a file that name models and data, in the order in which they are looked at."""


def _places(fields: dict[str, Any], entry: Any) -> Iterator[list[Any]]:
    """Where an entry stands in a file."""

    def below(value: Any, place: list[Any]) -> Iterator[list[Any]]:
        if value == entry and type(value) is type(entry):
            yield place
        elif isinstance(value, dict):
            for key, own in value.items():
                yield from below(own, [*place, key])
        elif isinstance(value, list):
            for number, own in enumerate(value):
                yield from below(own, [*place, number])

    for name in _ASKING:
        if name in fields:
            yield from below(fields[name], [name])


def _fields(path: Path, kind: type[BaseModel], overrides: Sequence[str]) -> tuple[dict[str, Any], Lines]:
    """What a file says, the overrides in their places, and the line of each place."""
    own = KINDS[kind.__name__]
    start = f"experiments/{own.example} is one to start from."
    if not os.path.exists(path):  # unlike Path.exists, this is False for a name that is too long for any file
        raise UserError(f"no {kind.__name__.lower()} file at {path}; {start}")
    text = read_text(path, "give a YAML text file.", limit=4 * MAX_YAML_CHARACTERS)
    fields, lines = parse_yaml(text, str(path), "check indentation and quotes.")
    if not isinstance(fields, dict):
        required = [f"`{name}:`" for name, field in kind.model_fields.items() if field.is_required()]
        raise UserError(
            f"{path}: {own.words} is a mapping with {', '.join(required)}; the file holds none; {start}"
        )
    experiment = _of_one_run(fields)
    if experiment is not fields or is_recorded(path):
        check_recorded(fields, str(path))
    fields = experiment
    for override in overrides:
        _override(fields, override)
    return fields, lines


def _changed(overrides: Sequence[str]) -> dict[tuple[str, ...], str]:
    """The place that each override sets -> the override."""
    return {tuple(override.partition("=")[0].split(".")): override for override in overrides}


def _placed(
    path: Path, lines: Lines, changed: dict[tuple[str, ...], str], location: Sequence[Any], message: str
) -> str:
    """A message behind the place that it is about: an override, or the line of the file and the field."""
    said = _said_by(changed, location, message) or f"{path}, line {_line(lines, location)}"
    where = ".".join(map(str, location))
    return f"{said}: {where + ': ' if where else ''}{message}"


def _with_imports(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields after the modules that the file and the command line name have been imported: names come first."""
    asked = fields.get("imports") or []
    places = [asked] if isinstance(asked, str) else asked
    if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
        raise UserError(
            f"{path}: imports is a list of modules and files, written [my_methods.py, my_package]."
        )
    bring_in(places, path.parent)
    known = brought_in()
    return {**fields, "imports": known} if known else {k: v for k, v in fields.items() if k != "imports"}


def _of_one_run(fields: dict[str, Any]) -> dict[str, Any]:
    """The `config.yaml` in a run's folder as an experiment, so that it can be run again; others as they are."""
    named = isinstance(fields.get("method", PLAIN), str)
    if "seed" not in fields or "seeds" in fields or "methods" in fields or not named:
        return fields
    rest = {name: value for name, value in fields.items() if name not in ("method", "mitigations", "seed")}
    mitigations = fields.get("mitigations") or []
    return {**rest, "methods": {fields.get("method", PLAIN): mitigations}, "seeds": [fields["seed"]]}


def _kind_with(location: Sequence[Any], kind: str) -> _Kind | None:
    """The other kind of file that has a field at this place: of the file itself, or of a method in it."""
    if len(location) > 1 and location[0] != "methods":
        return None
    return next((one for name, one in KINDS.items() if name != kind and location[-1] in one.own), None)


def _line(lines: Lines, location: Sequence[Any]) -> int:
    """The line of the deepest part of `location` that stands in the file."""
    where = tuple(location)
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def _said_by(changed: dict[tuple[str, ...], str], location: Sequence[Any], message: str) -> str | None:
    """The override that a mistake at this place comes from, the last one; None where the file itself is wrong."""
    place = tuple(map(str, location))
    for dotted, override in reversed(changed.items()):
        shared = min(len(dotted), len(place))
        if dotted[:shared] == place[:shared] if shared else f"`{dotted[0]}`" in message:
            return f"override '{override}'"
    return None


def _override(fields: dict[str, Any], override: str) -> None:
    """Set one dotted field, in place."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"'{override}' is not an override; write field=value, for instance train.lr=1e-4.")
    value = parse_yaml(text, f"the value of '{override}'", "quote it if it holds special signs.").value
    here: Any = fields
    parents: list[str] = []
    last, left = _key(here, dotted.split("."), parents)
    while left:
        if parents == ["methods"]:
            _with_settings(here, last, left[0], override)
        here = _enter(here, last, override)
        parents.append(last)
        if left[0].isdigit() and isinstance(here, dict) and isinstance(here.get("mitigations"), list):
            here = here["mitigations"]  # of an arm that is written as a mapping
        last, left = _key(here, left, parents)
    if isinstance(here, list):
        here[_position(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UserError(f"'{override}': nothing can be set below {'.'.join(parents)}, which is {here!r}.")


def _key(here: Any, left: list[str], parents: list[str]) -> tuple[str, list[str]]:
    """The next key of a dotted path, and the rest: names of arms may hold points, fields of a space do."""
    for count in range(len(left), 1, -1):
        if isinstance(here, dict) and (name := ".".join(left[:count])) in here:
            return name, left[count:]
    count = 2 if parents[-1:] == ["space"] else 1
    return ".".join(left[:count]), left[count:]


def _with_settings(methods: Any, arm: str, field: str, override: str) -> None:
    """An arm that is a list of mitigations as a mapping, where an override names one of its settings."""
    if not isinstance(methods, dict) or field not in ("space", *Arm.model_fields):
        return
    if arm not in methods:  # a slip would otherwise add an arm of plain fine-tuning
        names = [str(name) for name in methods]
        raise UserError(f"'{override}': no method '{arm}'.{closest(arm, names)} Methods: {', '.join(names)}.")
    if isinstance(methods[arm], list):
        methods[arm] = {"mitigations": methods[arm]}


def _enter(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        index = _position(here, part, override)
        if isinstance(here[index], str):  # `- ldifs` is short for `- ldifs: {}`
            here[index] = {here[index]: {}}
        return here[index]
    if isinstance(here, dict):
        if here.get(part) is None:
            here[part] = {}
        return here[part]
    raise UserError(f"'{override}': '{part}' is below {here!r}, which has no fields.")


def _position(here: list[Any], part: str, override: str) -> int:
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(here):
        raise UserError(f"'{override}': '{part}' is not a position in a list of {len(here)}; count from 0.")
    return int(part)

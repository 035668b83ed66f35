"""Names of a file that are looked up elsewhere: its model, and its data with their options. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cl_forget.config.explaining import Misplaced
from cl_forget.config.run import Shared
from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Mitigation
from cl_forget.models import check_model
from cl_forget.streams import check_probe, check_stream, check_suite

Named = tuple[Callable[[Any], None], Any, tuple[str | int, ...]]
"""What refuses a spec, the spec, and where it stands in the file."""


def check_names(asked: Shared) -> None:
    """Refuse what nobody knows by its name, or data with options that they do not take.

    Raises:
        Misplaced: says where.
    """
    for check, spec, place in _named(asked):
        try:
            check(spec)
        except UserError as error:
            raise Misplaced(str(error), *place) from None


def _named(asked: Shared) -> Iterator[Named]:
    yield check_model, asked.model, ("model",)
    yield from _listed(check_stream, asked.stream, "stream")
    yield from _listed(check_suite, asked.suites, "suites")
    yield from _listed(check_probe, asked.probes, "probes")
    for name in ("tune_on", "report_on"):  # of a sweep
        if stream := getattr(getattr(asked, name, None), "stream", None):
            yield from _listed(check_stream, stream, name, "stream")
    yield from _inside_methods(asked)


def _inside_methods(asked: Shared) -> Iterator[Named]:
    """Data that methods read, a suite or a stream each."""
    lists: dict[tuple[str | int, ...], list[Mitigation]] = {
        ("mitigations",): getattr(asked, "mitigations", None) or []
    }
    for arm, written in (getattr(asked, "methods", None) or {}).items():
        if isinstance(written, list):
            lists["methods", arm] = written
        else:
            lists["methods", arm, "mitigations"] = written.mitigations
    for place, members in lists.items():
        for number, mitigation in enumerate(members):
            yield from ((check_suite, spec, (*place, number)) for spec in mitigation.references())


def _listed(check: Callable[[Any], None], specs: Any, *place: str | int) -> Iterator[Named]:
    if not isinstance(specs, list):
        yield check, specs, place
        return
    yield from ((check, spec, (*place, number)) for number, spec in enumerate(specs))

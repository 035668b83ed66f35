"""One lazy registry for everything a user names: streams, models, mitigations, suites.

An entry is a name and the place its object lives ("package.module:attribute"); nothing is imported until
it is asked for. Other packages add entries through entry points of the registry's group.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from cl_forget.ground.errors import UserError


def closest(word: str, known: list[str], cutoff: float = 0.5) -> str:
    """` Did you mean 'x'?` when a known name is near `word`, else the empty string."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f" Did you mean '{match[0]}'?" if match else ""


class Registry:
    """Names to objects, loaded on first use.

    Args:
        kind: what an entry is, in the singular, for messages ("mitigation").
        group: the entry-point group other packages use ("cl_forget.mitigations").
        entries: the built-in names and where they live.
    """

    def __init__(self, kind: str, group: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = entries
        self.additions: dict[str, str] = {}  # what `add` was given, for processes this one starts

    @cached_property
    def _entries(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=self.group)}
        return {**found, **self._builtin}  # a plug-in never replaces a built-in name silently

    def names(self) -> list[str]:
        """Every known name, built-in ones first."""
        return list(self._builtin) + sorted(set(self._entries) - set(self._builtin))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def place(self, name: str) -> str:
        """Where the object registered as `name` lives, "module:attribute"."""
        return self._entries[name]

    def add(self, name: str, place: str) -> None:
        """Register `place` ("module:attribute") under `name` for this process."""
        self._entries[name] = place
        self.additions[name] = place

    def restore(self, additions: dict[str, str]) -> None:
        """Register what `additions` of another process holds."""
        for name, place in additions.items():
            self.add(name, place)

    def get(self, name: str) -> Any:
        """The object registered as `name`.

        Raises:
            UserError: no such name, or the entry cannot be imported.
        """
        if name not in self._entries:
            known = ", ".join(self.names())
            raise UserError(f"unknown {self.kind} '{name}'.{closest(name, self.names())} Known: {known}.")
        module, _, attribute = self._entries[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except UserError as error:
            raise UserError(f"{self.kind} '{name}' ({self._entries[name]}): {error}") from None
        except Exception as error:  # the code of another package can fail in any way
            kind = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
            said = " ".join(str(error).split())
            raise UserError(
                f"{self.kind} '{name}' ({self._entries[name]}) cannot be loaded: {kind}{said}. "
                "Install or mend the package that provides it."
            ) from error

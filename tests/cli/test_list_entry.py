"""`cl-forget list NAME`: one entry with all of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from cl_forget.cli.app import app
from cl_forget.mitigations import MITIGATIONS


def shown(name: str) -> str:
    done = CliRunner().invoke(app, ["list", name], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", list(MITIGATIONS))
def test_every_field_of_a_method_stands_there(name: str) -> None:
    method, said = MITIGATIONS.get(name), shown(name)
    assert f"({name})" in said and method.source.split(",")[0] in said
    for field in method.model_fields:
        assert re.search(rf"^\s*{field}\s", said, re.MULTILINE), field


def test_ranges_and_choices_are_told() -> None:
    said = shown("ldifs")
    assert "number ≥ 0" in said and "token · channel · none" in said and "grid 0.1, 1, 10, 100, 1000" in said


def entries() -> Iterator[tuple[str, str]]:
    yield "letters", "Stream"
    yield "facts", "Suite"
    yield "emoji-clip", "Model"


@pytest.mark.parametrize(("name", "kind"), entries())
def test_other_kinds_have_entries_too(name: str, kind: str) -> None:
    assert f"{kind} {name}" in shown(name)

"""Generic code asks a method what it is; it does not know methods by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import cl_forget
from cl_forget.mitigations import MITIGATIONS

ROOT = Path(cl_forget.__file__).parent


def compared(tree: ast.AST) -> Iterator[str]:
    """Every text in a comparison, also inside a tuple or a dict that something is compared with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_no_comparison_outside_the_methods_names_one() -> None:
    names = set(MITIGATIONS.names()) - {"avalanche", "star"}  # a stream and a marker, too
    assert {"joint", "linear_probe", "lp_ft", "batch_norm", "ldifs"} <= names
    found = {
        (str(path.relative_to(ROOT)), text)
        for path in ROOT.rglob("*.py")
        if "mitigations" not in path.parts
        for text in compared(ast.parse(path.read_text()))
        if text in names
    }
    assert found == set()

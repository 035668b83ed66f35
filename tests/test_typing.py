"""What users write in Python passes a strict type checker that knows nothing of pydantic."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import cl_forget

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

MISTAKES = """\
import cl_forget

cl_forget.Run(model="emoji-clip", stream="digits", mitigations=[1])
cl_forget.Run(model="emoji-clip", stream="digits", mitigatons=["ldifs"])
cl_forget.Run(model="emoji-clip", stream=3)
cl_forget.Run(stream="digits")
cl_forget.Experiment(model="emoji-clip", stream="digits", seeds=["one"])
cl_forget.Sweep(model="emoji-clip", stream="digits", methods={"LDIFS": 3})
cl_forget.Training(lr="fast")
cl_forget.Evaluation(limits=3)
"""

ACCEPTED = """\
from cl_forget import Evaluation, Experiment, Run, Sweep, Training
from cl_forget.mitigations.l2_sp import L2SP

Run(model="emoji-clip", stream="digits")
Run(model="emoji-clip", stream=("digits", "clocks"), mitigations=("ldifs", L2SP(strength=0.1)))
Run(model="emoji-clip", stream={"folder": {"path": "pets"}}, mitigations=[{"wise_ft": {"alpha": 0.5}}])
Run(model="emoji-clip", stream="digits", train=Training(lr=1e-3), evaluate={"limit": 5})
Run(model="emoji-clip", stream=["digits", {"letters": {"limit": 10}}], track={"wandb": "off"}, seed=3)
Experiment(model="emoji-clip", stream="digits", mitigations=["ldifs"], seeds=range(3))
Experiment(
    model="emoji-clip",
    stream="digits",
    methods={"none": [], "LDIFS": ["ldifs"], "LoRA": {"mitigations": ["lora"], "train": {"lr": 3e-3}}},
    evaluate=Evaluation(limit=5),
)
Sweep(model="emoji-clip", stream="digits", methods={"LDIFS": ["ldifs"]}, space={"train.lr": [1e-4, 1e-3]})
names = ["ldifs", "wise_ft"]
Run(model="emoji-clip", stream="digits", mitigations=names)
arms: dict[str, list[str]] = {name: [name] for name in names}
Experiment(model="emoji-clip", stream="digits", methods=arms)
Sweep(model="emoji-clip", stream="digits", methods=arms, budget={"trials": 3}, protocol={"retention": 0.8})
"""

CONFIGURATION = """\
[mypy]
strict = True
follow_imports = silent
ignore_missing_imports = True

[mypy-torch.*,torchvision.*,transformers.*,ray.*,avalanche.*,numpy.*,scipy.*,sklearn.*,matplotlib.*,plotly.*,wandb.*]
follow_imports = skip
"""
"""No plugin. Of the large packages nothing is read: a minute for what the examples do not depend on."""


def examples(page: Path) -> str:
    """The Python examples of a page, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M))


def strict(folder: Path) -> list[str]:
    """What mypy says of the modules in a folder under --strict and without any plugin."""
    (folder / "mypy.ini").write_text(CONFIGURATION)
    options = [
        "--config-file=mypy.ini",
        f"--cache-dir={ROOT / '.mypy_cache' / 'examples'}",
        "--no-error-summary",
    ]
    said = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *sorted(path.name for path in folder.glob("*.py"))],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert not said.stderr, said.stderr
    return [line for line in said.stdout.splitlines() if ": error:" in line]


@pytest.mark.slow
def test_examples_pass_a_strict_checker_and_mistakes_do_not(tmp_path: Path) -> None:
    (tmp_path / "accepted.py").write_text(ACCEPTED)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    written = 0
    for page in PAGES:
        if source := examples(page):
            name = "_".join(page.relative_to(ROOT).with_suffix("").parts)
            (tmp_path / f"page_{name.replace('-', '_')}.py").write_text(source)
            written += 1
    assert written > 3
    said = strict(tmp_path)
    assert [line for line in said if not line.startswith("mistakes.py")] == []
    lines = {int(line.split(":")[1]) for line in said}
    assert lines == set(range(3, len(MISTAKES.splitlines()) + 1))


def test_what_the_checker_accepts_the_constructors_take() -> None:
    exec(ACCEPTED, {})


@pytest.mark.parametrize("name", ["Run", "Experiment", "Sweep"])
def test_a_constructor_written_for_checkers_takes_exactly_the_fields(name: str) -> None:
    model: type[BaseModel] = getattr(cl_forget, name)
    (init,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(model)))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    required = {a.arg for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d is None}
    assert {argument.arg for argument in init.args.kwonlyargs} == set(model.model_fields)
    assert required == {field for field, info in model.model_fields.items() if info.is_required()}


def test_defaults_of_fields_are_named() -> None:
    """A checker reads `Field(default=3)`; it takes a field with `Field(3)` for required."""
    unnamed = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in (ROOT / "cl_forget").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Field"
        and call.args
    ]
    assert unnamed == []

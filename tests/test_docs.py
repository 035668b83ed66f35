"""The documents say what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from cl_forget.claims.claim import Claims
from cl_forget.claims.planning import plan as claims_plan
from cl_forget.cli import reference
from cl_forget.cli.catalogue import methods_page
from cl_forget.config.experiment import Experiment, load_experiment
from cl_forget.config.protocol import Protocol
from cl_forget.config.sweep import Range, Sweep, SweepArm, load_sweep
from cl_forget.config.tracking import Tracking
from cl_forget.evaluation.options import Evaluation
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS
from cl_forget.models.options import TextOptions
from cl_forget.sweeps.planning import plan_grid
from cl_forget.tracking.names import SECTIONS, metrics_table
from cl_forget.training.options import Training

ROOT = Path(__file__).parents[1]


def test_methods_page_is_made_from_the_code() -> None:
    assert (ROOT / "docs" / "methods.md").read_text() == methods_page(), "run `make docs`"


def test_the_reference_of_files_is_made_from_the_code() -> None:
    committed = {path.name: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
    made = reference.pages()
    assert set(committed) == set(made)
    for page, text in made.items():
        assert committed[page] == text, f"{page}: run `make docs`"


def test_the_reference_has_every_field_of_every_section() -> None:
    page = reference.sweep_page()
    for model in (Sweep, Training, TextOptions, Evaluation, Tracking, Range, Protocol, SweepArm):
        section = page.split(f"\n## {model.__name__}\n")[-1].split("\n## ")[0] if model is not Sweep else page
        assert all(f"| `{field}` |" in section for field in model.model_fields), model.__name__


def test_a_field_that_nothing_describes_stops_the_reference() -> None:
    class Bare(BaseModel):
        """A section.

        Attributes:
            said: described.
        """

        said: int = 3
        unsaid: int = 4

    with pytest.raises(LookupError, match=r"Bare\.unsaid has no description"):
        reference.file_page(Bare, "Bare", "")


def test_methods_page_says_of_every_field_what_it_may_be() -> None:
    page = methods_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(MITIGATIONS.get(name).model_fields) for name in MITIGATIONS)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 5 for row in rows), "a cell holds a bare |"
    for choice in ("uniform_mean", "previous", "channel", "reverse", "latest"):
        assert choice in page
    assert "`None`" not in page and "`True`" not in page


def test_methods_page_names_a_conflict_on_both_methods() -> None:
    sections = {part.split("`", 2)[1]: part for part in methods_page().split("\n### ")[1:]}
    for name in MITIGATIONS:
        for other in MITIGATIONS.get(name).conflicts:
            for one, two in ((name, other), (other, name)):
                (line,) = re.findall(r"^\* \*\*Conflicts\*\*.*$", sections[one], re.M)
                assert f"`{two}`" in line, f"{one} does not say that it conflicts with {two}"


@pytest.mark.parametrize("name", MITIGATIONS.names())
def test_every_method_has_cost_advice_formula_and_source(name: str) -> None:
    method = MITIGATIONS.get(name)
    for attribute in ("cost", "advice", "formula", "source", "title"):
        assert len(getattr(method, attribute)) > 1, f"{name}.{attribute}"
    assert method.cost != "not measured"


EXPERIMENTS = sorted(f for f in (ROOT / "experiments").rglob("*.yaml") if "results" not in f.parts)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_every_experiment_file_is_valid(file: Path) -> None:
    if file.stem == "claims":
        assert claims_plan([file], priced=True).tuning()
    elif "space:" in file.read_text() and "mode: search" not in file.read_text():
        assert plan_grid(load_sweep(file))
    elif "mode: search" in file.read_text():
        assert load_sweep(file).arms
    else:
        assert load_experiment(file).runs()


def test_the_sweep_page_s_example_is_valid() -> None:
    block = blocks(ROOT / "docs" / "sweeps.md", "yaml")[0]
    asked = yaml.safe_load(block)
    assert list(Sweep(**asked).ranges("WiSE-FT")) == ["wise_ft.alpha", "train.lr"]
    (block,) = (block for block in blocks(ROOT / "docs" / "sweeps.md", "yaml") if "compose:" in block)
    composed = Sweep(**{**asked, "space": {}, **yaml.safe_load(block)})
    assert composed.ranges("recipe")["ldifs.strength"].values == [10, 100, 300]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


def test_the_experiments_on_the_pages_are_valid() -> None:
    """A block with a model is a whole file; one of named arms is checked as the arms of one."""
    whole = [yaml.safe_load(block) for page in PAGES for block in blocks(page, "yaml")]
    files = [fields for fields in whole if "model" in fields and "stream" in fields]
    assert len(files) >= 4
    for fields in files:
        (Sweep if {"space", "mode", "tune_on"} & fields.keys() else Experiment)(**fields)
    (paper,) = [fields for fields in whole if "claims" in fields]
    assert Claims(**paper).claims
    (arms,) = blocks(ROOT / "docs" / "composing.md", "yaml")
    Experiment(model="emoji-clip", stream="digits", methods=yaml.safe_load(arms))


def test_links_inside_the_repository_lead_somewhere() -> None:
    outside = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "experiments" / "README.md"]
    for page in [*PAGES, *outside]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            if Path(target).name != "python.md":  # made while the site is built
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_is_short_and_its_table_narrow() -> None:
    text = (ROOT / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows and all(row.count("|") - 1 <= 6 for row in rows)
    assert text.count("\n![") == 1
    outside_the_table = [line for line in text.splitlines() if not line.startswith("|")]
    assert len(outside_the_table) < 100


def test_the_tables_of_the_pages_are_those_of_the_results() -> None:
    """`experiments/tables.py` has nothing left to do."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "experiments" / "tables.py")
    assert spec and spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        text = page.read_text()
        names = re.findall(r"<!-- ([\w-]+):begin -->", text)
        assert names
        made = {name: tables.readme_table((tables.RESULTS / name / "table.md").read_text()) for name in names}
        assert tables.filled(text, made) == text, "run python experiments/tables.py"
    head = "| method | Speciality % | a b % | Generality % | FWT points |"
    wide = f"{head}\n|---|---|---|---|---|\n| x | 1 | 2 | 3 | 4 |\n\nsaid"
    assert tables.readme_table(wide).splitlines() == [
        "| method | Speciality % | Generality % |",
        "| --- | --- | --- |",
        "| x | 1 | 3 |",
        "",
        "said",
    ]


def public() -> list[tuple[str, Any]]:
    found = []
    for door in ("cl_forget", "cl_forget.method", "cl_forget.testing"):
        if importlib.util.find_spec(door) is not None:
            module = importlib.import_module(door)
            found += [(f"{door}.{name}", getattr(module, name)) for name in module.__all__]
    return found


@pytest.mark.parametrize("name, thing", public(), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_public_is_described(name: str, thing: Any) -> None:
    """A docstring of its own; of a function every argument, of a class every public method."""
    if not callable(thing) or not getattr(thing, "__module__", "").startswith("cl_forget"):
        return
    assert thing.__doc__, f"{name} has no docstring"
    if inspect.isfunction(thing):
        said = reference.listed(thing.__doc__, "Args")
        assert set(inspect.signature(thing).parameters) <= set(said), f"{name}: an argument is not described"
    if inspect.isclass(thing):
        own = {n: m for n, m in vars(thing).items() if inspect.isfunction(m) and not n.startswith("_")}
        assert [n for n, m in own.items() if not m.__doc__] == [], f"{name}: a method has no docstring"
        if issubclass(thing, BaseModel) and thing.model_fields:
            said = reference.attributes(thing)
            assert set(thing.model_fields) <= set(said), f"{name}: a field is not described"


def test_the_tracking_page_defines_every_metric_that_is_logged() -> None:
    text = (ROOT / "docs" / "tracking.md").read_text()
    assert metrics_table() in text, "put cl_forget.tracking.names.metrics_table() between its marks"
    assert all(f"`{section}/<" in text for section in SECTIONS)
    assert all(f"`{name}`" in text for name in Cost.model_fields)
    assert all(f"{name}:" in text for name in Tracking.model_fields)


def test_what_git_has_it_does_not_ignore() -> None:
    """A file that is ignored is not linted either, and a new one beside it never arrives."""
    if not (ROOT / ".git").exists():  # a tree without its history has nothing to compare with
        assert (ROOT / ".gitignore").read_text().splitlines().count("/wandb/") == 1
        return
    command = ["git", "ls-files", "-ci", "--exclude-standard", "--", "cl_forget", "tests", "benchmarks"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split() == []

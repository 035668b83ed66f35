"""What a reader is told, in words: titles, definitions, sentences about nothing, lines that lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from samples import CONTROL, SUITES, TASKS, make_results

from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.reporting import report, specify, specify_folders
from cl_forget.reporting._titles import comparison_title, pair_title
from cl_forget.reporting.numbers import number, signed
from cl_forget.reporting.specification import Lines

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arms", "control", "tasks", "title"),
    [
        (["FT", "LDIFS", "SAM"], "FT", ["a", "b"],
         "LDIFS and SAM against FT: what is forgotten while learning a and b"),
        (["FT"], "FT", ["a"], "FT: what is forgotten while learning a"),
        (["A", "B"], None, ["a"], "A and B: what is forgotten while learning a"),
        (["FT", *"ABCD"], "FT", list("abcdef"),
         "4 methods against FT: what is forgotten while learning 6 tasks, a to f"),
        (["FT", "A"], "FT", [], "A against FT: what is forgotten"),
    ],
)  # fmt: skip
def test_a_title_says_what_is_compared(
    arms: list[str], control: str | None, tasks: list[str], title: str
) -> None:
    assert comparison_title(arms, control, tasks) == title


def test_a_pair_is_named_without_its_folders() -> None:
    assert pair_title("Lost", "runs/a/tuned", "emoji-clip") == "Lost: tuned against emoji-clip"
    assert pair_title("Lost", "hf-hub:me/model", "x://y/z").startswith("Lost: model against x://y/z")


def test_every_way_to_the_page_gives_it_one_title(tmp_path: Path) -> None:
    results = make_results([CONTROL, "LDIFS"], seeds=(0,))
    for result in results:
        folder = tmp_path / result.method.replace(" ", "-")
        folder.mkdir()
        (folder / "result.json").write_text(result.model_dump_json())
    title = report(results, tmp_path / "page").specification.title
    assert title == specify_folders([tmp_path]).title == specify(results).title
    assert title.startswith(f"LDIFS against {CONTROL}")


@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_a_definition_has_no_name_from_the_code(name: str) -> None:
    text = DEFINITIONS[name]
    assert not re.search(r"\b[a-z]+_[a-z_]+\b", text), "a name from the code"
    assert not re.search(r"[RG]\[|mean_|max_|<=|>=|θ0|\{", text), "a formula as a program writes it"
    assert not re.search(r" - ", text), "a minus is the sign of print"


def test_no_definition_on_a_page_has_one_either() -> None:
    specification = specify(make_results())
    known = {"A_LP"}
    for title, text in specification.definitions.items():
        names = set(re.findall(r"\b[A-Za-z]+_[A-Za-z_]+\b", text)) - known
        assert not names and not re.search(r"[RG]\[|mean_i|θ0", text), (title, text)


def test_nothing_that_readers_see_is_spelt_in_two_ways() -> None:
    """`pretrained` is a value of fields and a name in files; in sentences it is `pre-trained`."""
    found = []
    for file in [
        *ROOT.glob("docs/*.md"),
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("experiments/**/*.md"),
    ]:
        prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", file.read_text(), flags=re.DOTALL)
        prose = re.sub(r"^\|.*$", "", prose, flags=re.MULTILINE)
        found += [f"{file.name}: {m[0]}" for m in re.finditer(r".{0,40}\b[Pp]retrained\b.{0,20}", prose)]
    assert not found


def test_what_does_not_change_is_not_told_as_a_change() -> None:
    results = make_results([CONTROL], seeds=(0,))
    for result in results:
        for name in SUITES:
            result.rows[-1].suites[name].test.accuracy = result.rows[0].suites[name].test.accuracy
    first = specify(results).findings[0]
    assert "leaves generality at" in first and first.count(" to ") == 1


def test_joint_training_is_no_line_through_tasks_it_never_measured() -> None:
    figure = specify(make_results([CONTROL, "joint training"])).item("retention")
    assert isinstance(figure, Lines)
    columns = zip(figure.folded["method"], figure.folded["measure"], figure.folded["x"], strict=True)
    measured: dict[str, list[str]] = {}
    for method, measure, x in columns:
        if measure == "generality":
            measured.setdefault(method, []).append(x)
    assert figure.pieces("generality", measured["joint training"]) == [["pre-trained"], [TASKS[-1]]]
    assert len(figure.pieces("generality", measured[CONTROL])) == 1


def test_no_tick_and_no_number_is_minus_nothing() -> None:
    assert [signed(f"{value:,.0f}") for value in (-0.0, -0.4, 0.0, -1200.0, 8.0)] == [
        "0",
        "0",
        "0",
        "−1,200",
        "8",
    ]
    for unit in ("percent", "points", "change", "nats", "seconds", "ratio", "count", "megabytes", "number"):
        for value in (-0.0, -1e-9):
            assert not number(value, unit).startswith(("-", "−", "+")), unit  # type: ignore[arg-type]


def test_what_is_no_depth_stands_apart() -> None:
    places = ("before the blocks", "block 0", "block 1", "text tower", "task heads")
    figure = Lines(name="f", title="", how_to_read="", measures=(), data={}, folded={}, axis="depth", by_depth=True,
                   places={"m": places}, beside=("text tower", "task heads"))  # fmt: skip
    assert figure.pieces("m", places) == [list(places[:3]), ["text tower"], ["task heads"]]

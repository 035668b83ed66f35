"""The W&B Report and workspace: what is sent to the server, checked against the runs it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wandb_server import ENTITY, KEY, Server

from cl_forget.cli import main
from cl_forget.config.run import Run
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.reporting import specify_folders
from cl_forget.reporting.html.render import page
from cl_forget.reporting.specification import Specification
from cl_forget.reporting.wandb.publish import ITEMS, publish
from cl_forget.reporting.wandb.runs import TrackedRun, selecting
from cl_forget.run.shared import Setups
from cl_forget.run.simulate import simulate
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.work import work

METHODS: dict[str, list[Any]] = {
    "full fine-tuning": [],
    "WiSE-FT": [{"wise_ft": 0.5}],
    "LDIFS, 'strong'": [{"ldifs": 3.0}],
}
WHERE = f"{ENTITY}/forgetting"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """Three runs tracked online by the real client, and a fourth of another group that no report is about."""
    folder = tmp_path_factory.mktemp("runs")
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        log_in(patch, server)
        for number, (method, mitigations) in enumerate([*METHODS.items(), ("full fine-tuning", [])]):
            other = number == len(METHODS)
            run = Run.parse(
                {
                    "model": "tiny-clip",
                    "stream": {"squares": {"tasks": 2}},
                    "suites": ["colours"],
                    "probes": ["colour-probe"],
                    "method": method,
                    "mitigations": mitigations,
                    "train": {"epochs": 2 if other else 1, "batch_size": 24, "lr": 0.03},
                    "evaluate": {"curves": False, "export": False},
                    "track": {"wandb": "online", "project": "forgetting", "timeout": 60,
                              "group": "elsewhere" if other else "tiny"},
                }
            )  # fmt: skip
            simulate(run, folder.parent / "other" if other else folder / str(number))
        yield server, folder


def log_in(patch: pytest.MonkeyPatch, server: Server) -> None:
    import wandb

    wandb.teardown()
    patch.setenv("WANDB_BASE_URL", server.url)
    patch.setenv("WANDB_API_KEY", KEY)


@pytest.fixture
def server(tracked: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    log_in(monkeypatch, tracked[0])
    tracked[0].views.clear()
    yield tracked[0]
    tracked[0].status, tracked[0].delay, tracked[0].refuses_views = 200, 0.0, False


@pytest.fixture
def specification(tracked: tuple[Server, Path]) -> Specification:
    return specify_folders([tracked[1]], title="What was forgotten")


def sent(server: Server, kind: str) -> dict[str, Any]:
    (view,) = [view for view in server.views if view["type"] == kind]
    assert (view["entityName"], view["projectName"]) == (ENTITY, "forgetting")
    return json.loads(view["spec"])


def headings(spec: dict[str, Any], level: int) -> list[str]:
    blocks = [block for block in spec["blocks"] if block["type"] == "heading" and block["level"] == level]
    return ["".join(child["text"] for child in block["children"]) for block in blocks]


def grids(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]


def selected(filters: dict[str, Any], server: Server) -> set[str]:
    """The runs a stored filter selects, by a reading of it of our own."""
    assert filters["filterFormat"] == "filterV2"

    def holds(part: dict[str, Any], run: Any) -> bool:
        section, name = part["key"]["section"], part["key"]["name"]
        found = run.config[name] if section == "config" else {"name": run.name, "group": run.group}[name]
        assert part["op"] == "IN" and not part["disabled"] and part.get("connector", "AND") == "AND"
        return found in part["value"]

    runs = server.runs.values()
    return {run.name for run in runs if all(holds(part, run) for part in filters["filters"])}


def test_report_and_page_show_the_same_sections(server: Server, specification: Specification) -> None:
    published = publish(specification, WHERE)
    assert published.report.startswith(f"{server.url}/{WHERE}/reports/") and published.missing == ()
    spec = sent(server, "runs")
    sections = [section.title for section in specification.sections]
    items = [item.title for section in specification.sections for item in section.items]
    assert headings(spec, 1) == sections
    assert headings(spec, 2) == [*items, ITEMS, "Definitions"]
    html = page(specification, None)
    assert all(title in html for title in [*sections, *items])
    texts = [block["content"] for block in spec["blocks"] if block["type"] == "markdown-block"]
    for section in specification.sections:
        for item in section.items:
            assert any(item.how_to_read in text for text in texts), item.name


def test_the_verdicts_stand_on_top_and_the_items_in_a_table(
    server: Server, specification: Specification
) -> None:
    publish(specification, WHERE)
    blocks = sent(server, "runs")["blocks"]
    first = next(k for k, block in enumerate(blocks) if block["type"] == "markdown-block")
    assert first < [block["type"] for block in blocks].index("table-of-contents")
    assert specification.verdicts is not None
    assert specification.verdicts.sentence in blocks[first]["content"]
    tables = [
        panel["config"]["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]
        for grid in grids(sent(server, "runs"))
        for panel in _panels(grid)
        if panel["viewType"] == "Weave"
    ]
    assert "tables/items" in tables


def test_run_sets_select_the_runs_of_their_method_and_nothing_else(
    server: Server, specification: Specification
) -> None:
    publish(specification, WHERE)
    spec = sent(server, "runs")
    assert len(grids(spec)) >= 6
    colors = {method.name: method.color for method in specification.methods}
    for grid in grids(spec):
        assert [run_set["name"] for run_set in grid["runSets"]] == [
            method.name for method in specification.methods if method.name in METHODS
        ]
        for run_set in grid["runSets"]:
            (run,) = selected(run_set["filters"], server)
            assert server.runs[run].config["method"] == run_set["name"]
            assert server.runs[run].group == "tiny"
            assert grid["customRunColors"][run] == colors[run_set["name"]]


def test_every_panel_shows_something_its_runs_have_logged(
    server: Server, specification: Specification
) -> None:
    publish(specification, WHERE)
    logged = {key for run in server.runs.values() for key in run.summary}
    panels = [panel for grid in grids(sent(server, "runs")) for panel in _panels(grid)]
    shown = set()
    for panel in panels:
        config = panel["config"]
        keys = [*config.get("metrics", []), *config.get("mediaKeys", [])]
        keys += [config[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis") if axis in config]
        keys += [
            column["accessor"].removeprefix("summary:")
            for column in config.get("columns", [])
            if not column["accessor"].startswith("config:")
        ]
        assert set(keys) <= logged, panel
        shown |= set(keys)
    assert {
        "metrics/speciality", "metrics/generality", "metrics/forgetting_max", "metrics/forward_transfer",
        "metrics/backward_transfer", "delta_lp/colour-probe", "cost/train_seconds", "experience",
        "pictures/accuracy_matrix", "media/lost",
    } <= shown  # fmt: skip
    kinds = {panel["viewType"] for panel in panels}
    assert {"Scatter Plot", "Run History Line Plot", "Bar Chart", "Parallel Coordinates Plot"} <= kinds
    (knobs,) = [panel for panel in panels if panel["viewType"] == "Parallel Coordinates Plot"]
    accessors = [column["accessor"] for column in knobs["config"]["columns"]]
    assert accessors[:2] == [
        "config:mitigation.value.ldifs.strength",
        "config:mitigation.value.wise_ft.alpha",
    ]


def _panels(grid: dict[str, Any]) -> list[dict[str, Any]]:
    return list(grid["panelBankSectionConfig"]["panels"])


def test_the_workspace_has_the_same_sections_over_all_runs_of_the_report(
    server: Server, specification: Specification
) -> None:
    published = publish(specification, WHERE)
    assert published.workspace.startswith(f"{server.url}/{WHERE}?nw=")
    section = sent(server, "project-view")["section"]
    assert [part["name"] for part in section["panelBankConfig"]["sections"]] == [
        part.title for part in specification.sections
    ]
    (run_set,) = section["runSets"]
    runs = selected(run_set["filters"], server)
    assert {server.runs[run].config["method"] for run in runs} == set(METHODS)
    assert {server.runs[run].group for run in runs} == {"tiny"}
    assert "summary:metrics/speciality" in run_set["runFeed"]["columnOrder"]


def test_a_run_that_was_not_tracked_is_named(server: Server, specification: Specification) -> None:
    lost = replace(specification.runs[0], name="lost, seed 7", seed=7)
    lost = replace(lost, configuration={**lost.configuration, "seed": 7})
    published = publish(replace(specification, runs=(*specification.runs, lost)), WHERE)
    assert published.missing == ("lost, seed 7",)


def test_a_filter_by_method_and_group_is_used_only_where_it_is_exact() -> None:
    def run(id: str, method: str, group: str) -> TrackedRun:
        return TrackedRun(id, group, "finished", {"method": method}, {})

    a, b, c = run("a", "LDIFS", "one"), run("b", "LDIFS", "one"), run("c", "SAM", "one")
    assert len(selecting([a, b], [a, b, c])) == 2, "by method and group: a later seed appears too"
    assert len(selecting([a], [a, b, c])) == 1, "by identity: another run has the same method and group"


def test_a_sweep_s_report_has_its_knobs_and_every_trial(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "name": "knobs",
        "model": "tiny-clip",
        "stream": {"squares": {"tasks": 1}},
        "suites": ["colours"],
        "methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"]},
        "space": {
            "wise_ft.alpha": [0.25, 0.75],
            "l2_sp.strength": [0.01, 0.1],
            "train.lr": {"grid": [1e-3, 1e-2], "methods": ["L2-SP"]},
        },
        "train": {"epochs": 1, "batch_size": 24},
        "evaluate": {"curves": False, "export": False},
        "track": {"wandb": "online", "project": "swept", "timeout": 60},
    }
    (tmp_path / "sweep.json").write_text("{}")
    for group in share(plan_grid(Sweep(**fields))):
        work(group, tmp_path, Setups(), lambda trial: None)
    specification = specify_folders([tmp_path])
    published = publish(specification, f"{ENTITY}/swept")
    assert published.missing == ()
    (view,) = [json.loads(view["spec"]) for view in server.views if view["type"] == "runs"]
    assert headings(view, 1) == [section.title for section in specification.sections]
    panels = [panel for grid in grids(view) for panel in _panels(grid)]
    (lines,) = [panel for panel in panels if panel["viewType"] == "Parallel Coordinates Plot"]
    axes = [column["accessor"] for column in lines["config"]["columns"]]
    assert axes[:2] == ["config:mitigation.value.l2_sp.strength", "config:mitigation.value.wise_ft.alpha"]
    assert "summary:metrics/speciality" in axes
    assert "config:train.value.lr" in axes, "what is varied beside the knobs is an axis, too"
    targets = {p["config"]["targetKey"] for p in panels if p["viewType"] == "Parameter Importance"}
    assert targets == {"metrics/speciality", "metrics/generality"}
    texts = [block["content"] for block in view["blocks"] if block["type"] == "markdown-block"]
    assert any("finished trials are too few" in text for text in texts)
    along = {panel["config"]["xAxis"] for panel in panels if panel["viewType"] == "Scatter Plot"}
    assert {"config:mitigation.value.l2_sp.strength", "config:mitigation.value.wise_ft.alpha"} <= along
    swept = {name for name, run in server.runs.items() if run.project == "swept"}
    assert len(swept) == 7, "control, two and four"
    for grid in grids(view):
        chosen = [selected(run_set["filters"], server) & swept for run_set in grid["runSets"]]
        assert sorted(map(len, chosen)) == [1, 2, 4]


# -- what can go wrong ----------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, where: str) -> int:
    monkeypatch.setattr("sys.argv", ["cl-forget", "report", str(folder), "--output", str(folder / "page"),
                                     "--wandb", where])  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_command_publishes_and_says_where(
    tracked: tuple[Server, Path],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, tracked[1], WHERE) == 0
    said = capsys.readouterr().out
    assert f"{server.url}/{WHERE}/reports/" in said and f"{server.url}/{WHERE}?nw=" in said


@pytest.mark.parametrize(
    ("where", "prepare", "cure"),
    [
        ("forgetting", lambda s: None, "write entity/project"),
        ("nobody/forgetting", lambda s: None, rf"'nobody' is not one of your W&B entities \({ENTITY}"),
        (f"{ENTITY}/typo", lambda s: None, "no project lab/typo"),
        (f"{ENTITY}/empty", lambda s: s.projects.add("empty"), "has no runs.*wandb sync"),
        (WHERE, lambda s: setattr(s, "status", 401), "wandb login --relogin"),
        (WHERE, lambda s: setattr(s, "status", 502), r"\(502\): try again"),
        (WHERE, lambda s: setattr(s, "refuses_views", True), "did not take the report: .*permission denied"),
    ],
)
def test_mistakes_are_one_line_with_the_cure(
    server: Server, specification: Specification, where: str, prepare: Callable[[Server], None], cure: str
) -> None:
    prepare(server)
    with pytest.raises(UserError, match=cure) as error:
        publish(specification, where, timeout=5)
    assert "\n" not in str(error.value)
    assert server.views == []


def test_without_a_login_the_command_says_so_and_exits_with_2(
    tracked: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, tracked[1], WHERE) == 2
    assert "wandb login" in capsys.readouterr().err


def test_runs_of_another_project_are_not_taken_for_these(
    server: Server, specification: Specification
) -> None:
    records = tuple(replace(r, configuration={**r.configuration, "seed": 99}) for r in specification.runs)
    with pytest.raises(UserError, match="none of these runs is in that W&B project"):
        publish(replace(specification, runs=records), WHERE)

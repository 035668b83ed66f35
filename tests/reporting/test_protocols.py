"""A protocol's own table: its metrics, and published lines beside ours in every medium, never averaged with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtil_matrices import matrices
from samples import CONTROL, make_results

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.records import Result
from cl_forget.evaluation import metrics
from cl_forget.reporting import Table, specify, write_report
from cl_forget.reporting.tables import table_csv, table_markdown
from cl_forget.reporting.terminal.table import render_tables
from cl_forget.streams.protocols.published import PROTOCOLS
from cl_forget.streams.protocols.vision import MTIL, TA8, X_TAIL


def results(stream: Any, tasks: list[str], methods: tuple[str, ...] = (CONTROL, "LDIFS")) -> list[Result]:
    made = make_results(list(methods), seeds=(0, 1, 2), tasks=tasks)
    return [result.model_copy(update={"run": {**result.run, "stream": stream}}) for result in made]


@pytest.fixture(autouse=True)
def _known_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    import samples

    monkeypatch.setattr(samples, "BASE", samples.BASE | dict.fromkeys((*MTIL[1], *TA8), 0.4))


def protocol_of(made: list[Result]) -> Table:
    table = specify(made).item("protocol")
    assert isinstance(table, Table)
    return table


@pytest.mark.parametrize("order", [1, 2])
def test_the_published_lines_are_what_the_metrics_make_of_the_published_matrices(order: int) -> None:
    """Zheng et al. print one decimal, of matrices that are given to two."""
    lines = {line.method: line.values for line in PROTOCOLS["mtil"].published[(order,)]}
    lines["Continual learning"] = lines.pop("Continual fine-tuning")
    found = matrices(order)
    assert set(found) <= set(lines) and len(found) == 8
    for method, (accuracies, printed) in found.items():
        R = np.vstack([np.full(11, np.nan), accuracies])  # row 0 does not enter
        ours = metrics.mtil_transfer(R), metrics.mtil_avg(R), metrics.mtil_last(R)
        assert ours == pytest.approx(printed, abs=0.056), method
        stated = [100 * lines[method][name] for name in ("mtil_transfer", "mtil_avg", "mtil_last")]
        assert stated == pytest.approx(printed), method
        last = [100 * lines[method][f"task:{name}"] for name in MTIL[order]]
        assert last == pytest.approx(accuracies[-1], abs=0.056), method


def test_magmax_on_the_eight_tasks_has_the_mean_that_is_printed() -> None:
    [(line,)] = PROTOCOLS["ta8"].published.values()
    last = [line.values[f"task:{name}"] for name in TA8]
    R = np.full((9, 8), np.nan)
    R[-1] = last
    assert metrics.mtil_last(R) == pytest.approx(line.values["mtil_last"], abs=5e-5) == 0.8056


def test_every_published_line_has_a_source_and_its_own_protocols_metrics() -> None:
    for protocol in PROTOCOLS.values():
        for chosen, lines in protocol.published.items():
            assert len(chosen) == len(protocol.options)
            assert len({line.method for line in lines}) == len(lines)
            for line in lines:
                assert "table" in line.source or "steps" in line.source
                known = {name for name in line.values if not name.startswith("task:")}
                assert known and known <= set(protocol.measures)
                assert all(-1 <= value <= 1 for value in line.values.values())


def test_published_lines_stand_beside_ours_and_enter_no_mean() -> None:
    made = results({"mtil": {"root": "data"}}, list(MTIL[1]))
    table = protocol_of(made)
    assert [m.title for m in table.measures][:4] == ["Transfer", "Avg", "Last", "aircraft"]
    assert table.title == "As MTIL is reported"
    assert list(table.rows)[:3] == [PRETRAINED, CONTROL, "LDIFS"]
    ours = [r.metrics["test"]["mtil_transfer"] for r in made if r.method == "LDIFS"]
    assert table.rows["LDIFS"]["mtil_transfer"].mean == pytest.approx(np.mean(ours))
    assert table.rows["LDIFS"]["mtil_transfer"].low is not None
    line = table.rows["ZSCL (published)"]
    assert line["mtil_transfer"].mean == 0.681 and line["task:aircraft"].mean == 0.406
    assert line["mtil_avg"].low is None and not any(cell.best for cell in line.values())
    assert table.role("ZSCL (published)") == "published" and table.role(CONTROL) == "control"
    untouched = table.rows[PRETRAINED]
    first = [made[0].rows[0].tasks[name].test.accuracy for name in MTIL[1]]
    assert untouched["mtil_transfer"].mean == pytest.approx(np.mean(first[1:]))
    assert untouched["mtil_avg"].mean == untouched["mtil_last"].mean == pytest.approx(np.mean(first))
    assert any("Zheng et al. 2303.06628" in note for note in table.notes)
    # The table of all numbers, its best marks and the arms of the report are as without.
    plain = specify([r.model_copy(update={"run": {**r.run, "stream": list(MTIL[1])}}) for r in made])
    whole = specify(made)
    assert plain.item("results") == whole.item("results") and plain.methods == whole.methods
    with pytest.raises(KeyError):
        plain.item("protocol")


def test_the_variant_chooses_the_table_and_a_stand_in_has_none() -> None:
    def published(stream: Any, tasks: tuple[str, ...]) -> list[str]:
        table = protocol_of(results(stream, list(tasks)))
        return [name for name in table.rows if name.endswith("(published)")]

    assert "ZSCL (published)" in published({"mtil": {"order": 2}}, MTIL[2])
    assert published(["ta8"], TA8) == ["MagMax (published)"]
    assert "Dual-RAIL (published)" in published("x-tail", X_TAIL[1])
    assert published({"x-tail": {"order": 2, "shots": None}}, X_TAIL[2]) == ["LADA (published)"]
    assert published({"x-tail": {"shots": 4}}, X_TAIL[1]) == []
    for part in ({"root": "embedded"}, {"limit": 100}):
        assert published({"mtil": part}, MTIL[1]) == []
        notes = protocol_of(results({"mtil": part}, list(MTIL[1]))).notes
        assert any("nothing published stands beside them" in note for note in notes)


def test_every_medium_shows_the_table(tmp_path: Path) -> None:
    specification = specify(results({"mtil": {}}, list(MTIL[1])))
    written = write_report(specification, tmp_path)
    page, text = written.page.read_text(), written.markdown.read_text()
    assert '<tr data-method="ZSCL (published)" class="published">' in page
    assert "As MTIL is reported" in page and "Zheng et al. 2303.06628" in page
    assert "## As MTIL is reported" in text and "| ZSCL (published) | 68.1 | 75.4 | 83.6 | 40.6 |" in text
    table = specification.item("protocol")
    assert isinstance(table, Table)
    line = next(row for row in table_csv(table).splitlines() if row.startswith("ZSCL (published)"))
    assert ",published," in line and "0.681" in line and "2303.06628" in line
    assert table_markdown(replace(table, notes=())) in text or "Published:" in text
    first, second = render_tables(specification, 100)
    assert first.row_count == 3 and second.row_count == len(table.rows)

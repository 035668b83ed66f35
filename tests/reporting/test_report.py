from __future__ import annotations

import csv
import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from samples import CONTROL, make_results

from cl_forget.ground.errors import UserError
from cl_forget.reporting import load_results, load_runs, report, specify, specify_folders, terminal_table
from cl_forget.reporting.numbers import with_interval
from cl_forget.reporting.print.labels import _mistaken, place_labels
from cl_forget.reporting.print.pictures import tradeoff_png


def printed(results, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table(results, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_the_terminal_table_fits_and_cuts_no_number(results, specification, width):
    text = printed(results, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    cell = specification.item("results").rows["LDIFS"]["speciality"]
    assert with_interval(cell, "percent") in text
    assert f"{CONTROL} (control)" in text
    assert ("more columns are in table.csv" in " ".join(text.split())) == (width < 300)


def test_brackets_in_names_are_not_markup():
    (result,) = make_results(["LDIFS"], seeds=(0,))
    assert "[bold]x[/bold]" in printed([result.model_copy(update={"method": "[bold]x[/bold]"})], 100)


def test_a_report_is_four_whole_files(results, tmp_path):
    (tmp_path / "report.html").write_text("of an earlier report")
    written = report(results, tmp_path, title="A title & <more>")
    names = {"report.html", "tradeoff.png", "table.csv", "table.md"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "<title>A title &amp; &lt;more&gt;</title>" in written.page.read_text()
    assert struct.unpack(">II", written.picture.read_bytes()[16:24]) == (1720, 1160)
    lines = list(csv.DictReader(written.csv.read_text().splitlines()))
    rows = written.specification.item("results").rows
    assert [line["method"] for line in lines] == list(rows)
    for line in lines:
        cell = rows[line["method"]]["generality"]
        assert line["generality"] == ("" if cell.mean is None else str(cell.mean))
        assert line["generality_low"] == ("" if cell.low is None else str(cell.low))
    assert next(line for line in lines if line["method"] == "joint training")["bwt"] == ""
    best = max((name for name in rows), key=lambda name: rows[name]["speciality"].mean)
    assert (
        f"| {best} | **{with_interval(rows[best]['speciality'], 'percent')}** |"
        in written.markdown.read_text()
    )


def test_a_report_without_generality_has_no_picture(tmp_path):
    written = report(make_results(["LDIFS"], (0,), ["digits"], [], []), tmp_path)
    assert written.picture is None
    assert not (tmp_path / "tradeoff.png").exists()


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing can be written to"):
        report(make_results(["LDIFS"], (0,), ["digits"], [], []), tmp_path / "file")


def test_results_are_found_below_any_folder(results, tmp_path):
    for k, result in enumerate(results[:4]):
        folder = tmp_path / "experiment" / f"run-{k}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(result.model_dump_json())
    one = tmp_path / "experiment" / "run-1" / "result.json"
    found = load_results([tmp_path, one, tmp_path / "experiment" / "run-2"])
    assert found == results[:4]


def test_what_cannot_be_loaded_is_one_line(results, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_results([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"no result\.json"):
        load_results([tmp_path])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(results[0].model_dump_json())
    with pytest.raises(UserError, match="give one of them"):
        load_results([tmp_path])
    (tmp_path / "a" / "result.json").write_text("{}")
    with pytest.raises(UserError, match="not a result"):
        load_results([tmp_path / "a"])


def test_labels_keep_clear_of_each_other_and_of_points():
    rng = np.random.default_rng(0)
    anchors = [tuple(point) for point in rng.uniform(100, 900, (12, 2))]
    sizes = [(80.0, 14.0)] * len(anchors)
    points = [(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    boxes = [place.box for place in place_labels(anchors, sizes, points, (0, 0, 1000, 1000))]
    for k, box in enumerate(boxes):
        assert min(box) >= 0 and max(box) <= 1000
        for other in [*boxes[:k], *points]:
            wide, high = (
                min(box[2], other[2]) - max(box[0], other[0]),
                min(box[3], other[3]) - max(box[1], other[1]),
            )
            assert wide < 1e-6 or high < 1e-6


def test_a_name_that_hugs_another_point_costs_more():
    """A name 20 away from its own point (0, 0) and 2, 30 or no less far from another one."""
    boxes = np.array([[20.0, -6.0, 80.0, 6.0]])
    for rival, expected in (((82.0, 0.0), True), ((110.0, 0.0), False), ((-10.0, 0.0), False)):
        found = _mistaken(boxes, np.zeros(2), np.array([rival]), near=14)
        assert found.tolist() == [expected], rival
    assert _mistaken(boxes, np.zeros(2), np.zeros((0, 2)), near=14).tolist() == [False]


def test_a_picture_of_one_method_and_one_seed_can_be_drawn():
    from cl_forget.reporting import specify

    (result,) = make_results(["WiSE-FT"], seeds=(0,))
    odd = result.model_copy(update={"method": "$x_1$ <b>"})
    assert tradeoff_png(specify([odd]), dpi=60).startswith(b"\x89PNG")


def test_folders_with_the_same_methods_are_told_apart(results, tmp_path):
    for name in ("first", "second"):
        for result in results[:4]:
            folder = tmp_path / name / f"{result.method}-{result.seed}"
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(result.model_dump_json())
    loaded = load_runs([tmp_path / "first", tmp_path / "second"])
    methods = {result.method for result in loaded.results}
    assert methods == {f"{r.method} ({place})" for r in results[:4] for place in ("first", "second")}
    key = (f"{CONTROL} (second)", 1)
    assert loaded.folders[key] == tmp_path / "second" / f"{CONTROL}-1"


def test_runs_that_have_not_finished_are_named(results, tmp_path):
    for name, file in (("done", "result.json"), ("halfway", "state.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(results[0].model_dump_json() if name == "done" else "{}")
    specification = specify_folders([tmp_path])
    assert specification.findings[-1] == (
        "halfway has not finished, and no part in this: resume with --resume."
    )
    with pytest.raises(UserError, match="1 run has not finished; resume with --resume"):
        load_runs([tmp_path / "halfway"])


def test_a_long_caption_stands_below_the_axis(results):
    """Notes of any length leave the axis title free: the axes make room for each line."""
    specification = specify_with_notes(results, "A sentence that explains something at length. " * 12)
    long, short = (np.asarray(imread(io.BytesIO(tradeoff_png(s)))) for s in (specification, specify(results)))
    assert long.shape == short.shape
    assert frame_bottom(long) < frame_bottom(short) - 40


def specify_with_notes(results, note):
    specification = specify(results)
    sections = [
        replace(s, items=tuple(replace(i, notes=(note,)) if i.name == "tradeoff" else i for i in s.items))
        for s in specification.sections
    ]
    return replace(specification, sections=tuple(sections))


def frame_bottom(picture):
    """The row of the horizontal axis: the lowest one that is drawn from side to side."""
    dark = (picture[..., :3].max(axis=2) < 0.85).mean(axis=1)
    return int(np.flatnonzero(dark > 0.8)[-1])

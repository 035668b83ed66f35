"""Figures for print: vector, lettered with embedded TrueType fonts, one look per method; a table LaTeX can read."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib

import pytest
from dashboard import make_trials
from samples import CONTROL, make_results

from cl_forget.ground.errors import UserError
from cl_forget.reporting import specify, specify_sweep
from cl_forget.reporting.numbers import with_interval
from cl_forget.reporting.print.paper import STYLES, figure_pdf, write_figures
from cl_forget.reporting.tables import latex, paper_measures, table_latex


@pytest.fixture(scope="module")
def written(specification, tmp_path_factory):
    paths = write_figures(specification, tmp_path_factory.mktemp("figures"))
    return {path.name: path for path in paths}


def streams(pdf: bytes) -> list[bytes]:
    """The drawing commands of a PDF, decompressed."""
    found = []
    for content in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            found.append(zlib.decompress(content))
        except zlib.error:
            continue
    return found


def colours(pdf: bytes) -> set[str]:
    """Every colour something is filled or drawn with, as #RRGGBB."""
    numbers = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)\b", b"\n".join(streams(pdf)))
    return {"#" + "".join(f"{round(255 * float(part)):02X}" for part in triple) for triple in numbers}


def test_every_figure_is_there(written):
    pdfs = {"tradeoff.pdf", "retention.pdf", "accuracy-matrix.pdf", "transfer.pdf", "drift.pdf", "cost.pdf"}
    assert pdfs | {"table.tex", "table.md"} <= set(written)


def test_pdfs_are_vectors_with_embedded_truetype_fonts(written):
    for name, path in written.items():
        if path.suffix != ".pdf":
            continue
        content = path.read_bytes()
        assert content.startswith(b"%PDF") and b"/Subtype /Image" not in content, name
        assert b"/FontFile2" in content and b"/Type3" not in content, name
        fonts = set(re.findall(rb"/BaseFont /[A-Z]{6}\+([\w-]+)", content))
        assert fonts <= {b"STIXGeneral-Regular", b"STIXGeneral-Bold"}, name


def test_sizes_are_those_of_the_page(written):
    def inches(name: str) -> float:
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", written[name].read_bytes())
        return float(box[1]) / 72

    assert inches("tradeoff.pdf") == pytest.approx(STYLES["paper"].column, abs=0.01)
    assert inches("retention.pdf") == pytest.approx(STYLES["paper"].page, abs=0.01)


def test_a_method_has_one_colour_in_all_figures(specification, written):
    for method in specification.methods:
        for name in ("tradeoff.pdf", "retention.pdf", "transfer.pdf", "cost.pdf"):
            figure = specification.item(name.removesuffix(".pdf"))
            if method.name in figure.folded["method"]:
                assert method.color in colours(written[name].read_bytes()), (method.name, name)


def test_the_same_figure_is_the_same_file(specification, written):
    again = figure_pdf(specification, specification.item("retention"), STYLES["paper"])
    assert again == written["retention.pdf"].read_bytes()


def test_a_sweep_has_figures_too(tmp_path):
    specification = specify_sweep(make_trials(60, seeds=2))
    paths = {path.name for path in write_figures(specification, tmp_path, "slides")}
    assert {"tradeoff.pdf", "knobs.pdf", "cost.pdf", "table.tex"} <= paths


def test_the_latex_table_has_the_intervals_and_the_best_in_bold(specification, written):
    table, text = specification.item("results"), written["table.tex"].read_text()
    lines = text.splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == len(table.rows)
    measures = paper_measures(table)
    assert {"speciality", "generality"} <= {measure.name for measure in measures} and len(measures) < 7
    for line, (method, row) in zip(body, table.rows.items(), strict=True):
        cells = line.removesuffix(r" \\").split(" & ")
        assert cells[0] == latex(method) and len(cells) == 1 + len(measures)
        for cell, measure in zip(cells[1:], measures, strict=True):
            shown = latex(with_interval(row[measure.name], measure.unit))
            assert cell == (rf"\textbf{{{shown}}}" if row[measure.name].best else shown)
    assert r"$\pm$" in text and CONTROL in text


def test_latex_can_read_the_table(written, tmp_path):
    text = written["table.tex"].read_text()
    assert text.isascii() and text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    for line in text.splitlines():
        for special in ("%", "#", "_"):
            if not line.startswith("%") and not line.endswith("!}{%"):
                assert not re.search(rf"(?<!\\){special}", line), line
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip(
            "no pdflatex: only the text was checked; on Debian: apt-get install texlive-latex-recommended"
        )
    head = r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\begin{document}"
    page = head + text + r"\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-2000:]


def test_odd_names_are_written_out(specification):
    assert latex(r"a_b & 50% {x} \y ~ $ #1 ^") == (
        r"a\_b \& 50\% \{x\} \textbackslash{}y \textasciitilde{} \$ \#1 \textasciicircum{}"
    )
    assert "–" not in table_latex(specification.item("results"))


def test_an_unknown_style_or_an_unwritable_folder_is_one_line(tmp_path):
    specification = specify(make_results(["LDIFS"], (0,), ["digits"], [], []))
    with pytest.raises(UserError, match="Did you mean 'paper'"):
        write_figures(specification, tmp_path, "papr")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing can be written to"):
        write_figures(specification, tmp_path / "file")

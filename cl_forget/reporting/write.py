"""The report on disk: page, picture, tables; every file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.comparison.records import Result
from cl_forget.ground.files import StrPath, write_all
from cl_forget.reporting._understood import find_understood
from cl_forget.reporting.build import specify
from cl_forget.reporting.specification import Specification, Table
from cl_forget.reporting.tables import table_csv, table_markdown
from cl_forget.reporting.verdict_strip import verdicts_markdown

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: `report.html`, self-contained.
        picture: `tradeoff.png`; None if neither generality, Δ_LP nor backward transfer was measured.
        csv, markdown: the results table, `table.csv` (fractions, with intervals) and `table.md`.
        specification: what they show.
    """

    page: Path
    picture: Path | None
    csv: Path
    markdown: Path
    specification: Specification

    def show(self) -> None:
        """In a notebook: the picture, and the table below it."""
        from IPython.display import Image, Markdown, display

        if self.picture is not None:
            display(Image(str(self.picture), width=760))
        display(Markdown(self.markdown.read_text()))


def report(
    results: Sequence[Result],
    output: StrPath,
    title: str | None = None,
    folders: Mapping[tuple[str, int], Path] | None = None,
) -> Report:
    """Write the report on `results` into the folder `output`.

    Args:
        results: one per method and seed, of the same model, stream and suites.
        output: folder, made if need be; files of an earlier report are replaced.
        title: of the page.
        folders: (method, seed) -> where the run lies, to be shown with it; its training curves are read from there.

    Raises:
        UserError: the results cannot be compared, or `output` cannot be written.
    """
    places = [Path(output)] if folders is None else list(folders.values())
    specification = replace(specify(results, title, folders), understood=find_understood(places))
    return write_report(specification, output)


def report_sweep(
    trials: Sequence[Trial],
    output: StrPath,
    title: str | None = None,
    folders: Mapping[str, Path] | None = None,
) -> Report:
    """Write the report on a sweep's trials into the folder `output`.

    Args:
        trials: the records, finished or not.
        output: folder, made if need be; files of an earlier report are replaced.
        title: of the page.
        folders: sweep -> its folder, for the figures along the stream; None leaves them out.

    Raises:
        UserError: the trials cannot be compared, or `output` cannot be written.
    """
    from cl_forget.reporting.sweep import specify_sweep

    return write_report(specify_sweep(trials, title=title, folders=folders), output)


def _protocols(specification: Specification) -> Iterator[str]:
    """The other tables of methods, such as that of a protocol with what was published."""
    for section in specification.sections:
        for item in section.items:
            if isinstance(item, Table) and item.name != "results":
                yield f"## {item.title}\n\n{table_markdown(item)}"


def write_report(specification: Specification, output: StrPath) -> Report:
    """Write page, picture and tables of a specification; each file appears whole or not at all.

    Raises:
        UserError: `output` cannot be written.
    """
    from cl_forget.reporting.html.render import page
    from cl_forget.reporting.print.pictures import tradeoff_png

    table = specification.item("results")
    assert isinstance(table, Table)
    picture = tradeoff_png(specification)
    output = Path(output)
    contents = {
        "report.html": page(specification, picture).encode(),
        "table.csv": table_csv(table).encode(),
        "table.md": "\n".join(
            [table_markdown(table) + verdicts_markdown(specification.verdicts), *_protocols(specification)]
        ).encode(),
    }
    if picture is not None:
        contents["tradeoff.png"] = picture
    write_all(output, contents)
    return Report(
        page=output / "report.html",
        picture=output / "tradeoff.png" if picture is not None else None,
        csv=output / "table.csv",
        markdown=output / "table.md",
        specification=specification,
    )

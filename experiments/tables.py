"""Put the results of the experiments into the pages: tables between their markers, the pictures beside them.

cl-forget run experiments/quickstart.yaml --jobs 2 evaluate.export=false --output experiments/results/quickstart
cl-forget run experiments/quickstart-rn.yaml --jobs 2 evaluate.export=false --output experiments/results/quickstart-rn
cl-forget run experiments/pico.yaml --jobs 2 evaluate.export=false --output experiments/results/pico
python experiments/tables.py
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
NARROW = ("method", "Speciality", "Generality", "BWT", "Δ_LP", "KL to base")
"""The columns of the pages, which are read on narrow screens; the results have all of them."""

FAR = dict.fromkeys(("quickstart", "quickstart-rn"), "full fine-tuning, zero-shot head")
"""An arm so far from the others that a picture with it shows little else; the page says where it lies."""


def readme_table(table: str) -> str:
    """A Markdown table with the columns of `NARROW` alone, and what is below it."""
    lines = table.strip().splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]
    kept = [place for place, name in enumerate(rows[0]) if _quantity(name) in NARROW]
    below = next((place for place in range(end, len(lines)) if lines[place].startswith("|")), len(lines))
    short = ["| " + " | ".join(row[place] for place in kept) + " |" for row in rows]
    return "\n".join([*short, *lines[end:below]]).rstrip()


def _quantity(name: str) -> str:
    """What a column shows, without its unit, which is the last word."""
    return name if name == "method" else name.rpartition(" ")[0]


def write_picture(experiment: str, file: Path) -> None:
    """The experiment's picture, without the arm that lies far from the others."""
    if experiment not in FAR:
        shutil.copy(RESULTS / experiment / "tradeoff.png", file)
        return
    from cl_forget.comparison.records import Result
    from cl_forget.reporting import report

    results = [Result.load(found.parent) for found in sorted((RESULTS / experiment).glob("*/result.json"))]
    with tempfile.TemporaryDirectory() as folder:
        made = report([one for one in results if one.method != FAR[experiment]], folder)
        assert made.picture is not None
        shutil.copy(made.picture, file)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A page with `tables` (experiment -> Markdown) between the experiments' markers."""
    for experiment, table in tables.items():
        text = re.sub(
            rf"(<!-- {experiment}:begin -->).*?(<!-- {experiment}:end -->)",
            lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}",
            text,
            flags=re.S,
        )
    return text


PAGES = (ROOT / "README.md", ROOT / "experiments" / "README.md")


def main() -> None:
    for page in PAGES:
        text = page.read_text()
        experiments = re.findall(r"<!-- ([\w-]+):begin -->", text)
        page.write_text(
            filled(text, {e: readme_table((RESULTS / e / "table.md").read_text()) for e in experiments})
        )
        for experiment in experiments:
            write_picture(experiment, ROOT / "docs" / "images" / f"{experiment}-tradeoff.png")


if __name__ == "__main__":
    main()

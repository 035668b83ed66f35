"""Put the results of the experiments into the README: tables between its markers, the pictures beside them.

cl-forget run experiments/quickstart.yaml evaluate.limit=150 --output experiments/results/quickstart
cl-forget run experiments/combination.yaml evaluate.limit=150 --output experiments/results/combination
python experiments/tables.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
LEFT_OUT = ("Training time", "Relative time", "FWT", "Generality drop")
"""Columns that only the table beside the results has: a README is narrow, and experiments share a processor."""


def narrow(table: str) -> str:
    """A Markdown table without some of its columns, and what is below it."""
    lines = table.strip().splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]
    kept = [place for place, name in enumerate(rows[0]) if not name.startswith(LEFT_OUT)]
    return "\n".join(["| " + " | ".join(row[place] for place in kept) + " |" for row in rows] + lines[end:])


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    for experiment in re.findall(r"<!-- (\w+):begin -->", text):
        table = narrow((RESULTS / experiment / "table.md").read_text())
        text = re.sub(
            rf"(<!-- {experiment}:begin -->).*?(<!-- {experiment}:end -->)",
            lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}",
            text,
            flags=re.S,
        )
        shutil.copy(
            RESULTS / experiment / "tradeoff.png", ROOT / "docs" / "images" / f"{experiment}-tradeoff.png"
        )
    readme.write_text(text)


if __name__ == "__main__":
    main()

"""Put the results of the experiments into the README: tables between its markers, the picture beside it.

cl-forget run experiments/quickstart.yaml evaluate.limit=150 --output experiments/results/quickstart
python experiments/tables.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKERS = {"quickstart": "quickstart"}


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    for marker, experiment in MARKERS.items():
        table = (ROOT / "experiments" / "results" / experiment / "table.md").read_text().strip()
        text = re.sub(
            rf"(<!-- {marker}:begin -->).*?(<!-- {marker}:end -->)",
            lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}",
            text,
            flags=re.S,
        )
    readme.write_text(text)
    shutil.copy(
        ROOT / "experiments" / "results" / "quickstart" / "tradeoff.png",
        ROOT / "docs" / "images" / "quickstart-tradeoff.png",
    )


if __name__ == "__main__":
    main()

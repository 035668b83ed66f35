"""What experiments/README.md says of accuracy right after each task stands in the records of the runs."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def right_after(experiment: str, arm: str) -> list[float]:
    """Percent of each task right after it, mean over seeds, in the order of the stream."""
    files = sorted((EXPERIMENTS / "results" / experiment).glob(f"{arm}-seed?/accuracy_test.csv"))
    assert len(files) == 5
    seeds = [list(csv.DictReader(file.read_text().splitlines())) for file in files]
    tasks = [row["after"] for row in seeds[0][1:]]
    return [100 * fmean(float(rows[n][task]) for rows in seeds) for n, task in enumerate(tasks, start=1)]


@pytest.mark.parametrize(
    ("experiment", "arm", "said", "digits"),
    [
        ("quickstart", "full-fine-tuning", "87.6, 92.0 and 77.6 %", 1),
        ("quickstart", "linear-probe", "70.7, 67.2\n  and 56.7", 1),
        ("pico", "full-fine-tuning", "24, 12 and 83 %", 0),
        ("pico", "full-fine-tuning-by-accuracy-alone", "75, 34 and 100 %", 0),
        ("pico", "l2-sp", "67 and 62 %", 0),
    ],
)
def test_the_page_says_what_was_measured(experiment: str, arm: str, said: str, digits: int) -> None:
    page = (EXPERIMENTS / "README.md").read_text()
    numbers = [float(word.strip(",%")) for word in said.split() if word[0].isdigit()]
    assert said in page
    assert numbers == [round(n, digits) for n in right_after(experiment, arm)[: len(numbers)]]

"""Every arm against one of them, paired by seed: differences that the pages of this folder name beside the tables.

    python experiments/against.py results/quickstart "full fine-tuning, a tenth of the rate"
    python experiments/against.py resnet "full fine-tuning, train.lr = 0.00017"      a world of the claims
    python experiments/against.py results/pico "full fine-tuning" --of sam/results    arms of other runs

Test data after the last task, in points; means, then differences with 95 % intervals (Student's t over seeds).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from cl_forget.comparison.statistics import Estimate, paired_difference
from cl_forget.evaluation.metrics import mean

HERE = Path(__file__).parent
MEASURES = ("speciality", "generality")
Values = dict[str, dict[int, Mapping[str, float]]]


def of_runs(folder: Path) -> Values:
    """Arm -> seed -> test metrics, of a folder of runs."""
    from cl_forget.comparison.records import Result

    found: Values = defaultdict(dict)
    for file in sorted(folder.glob("*/result.json")):
        result = Result.load(file.parent)
        found[result.method][result.seed] = result.metrics["test"]
    return found


def of_claims(world: str) -> Values:
    """The same of every setting that was run for a world's claims, of which the arm's name says the setting."""
    from cl_forget.claims.planning import plan
    from cl_forget.claims.records import RECORDS, load_records
    from cl_forget.comparison.settings import setting_label

    known = load_records(None, [HERE / RECORDS])
    made = plan(sorted(HERE.glob("*/claims.yaml")), worlds=[world])
    found: Values = defaultdict(dict)
    for one in made.reporting(list(known.values())):
        trial = known.get(one.trial.id)
        if trial is not None and trial.status == "finished":
            found[", ".join(filter(None, (trial.method, setting_label(trial))))][trial.seed] = trial.test
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("place", help="a folder of runs, or the name of a world")
    parser.add_argument("arm", help="that all are compared with")
    parser.add_argument("--of", help="the folder or world whose arms are compared, where it is another one")
    given = parser.parse_args()
    values = _values(given.place)
    if given.arm not in values:
        raise SystemExit(f"no arm '{given.arm}'; there are: {'; '.join(sorted(values))}.")
    measures = (
        (*MEASURES, "generality_drop") if given.of else MEASURES
    )  # bases may differ in what they begin with
    for arm, by_seed in sorted((_values(given.of) if given.of else values).items()):
        cells = []
        for name in measures:
            own = {seed: metrics.get(name) for seed, metrics in by_seed.items()}
            other = {seed: metrics.get(name) for seed, metrics in values[given.arm].items()}
            cells.append(_cell(mean(own.values()), paired_difference(own, other)))
        print(f"{arm}: " + "; ".join(f"{n} {c}" for n, c in zip(measures, cells, strict=True)))


def _values(place: str) -> Values:
    return of_runs(HERE / place) if (HERE / place).is_dir() else of_claims(place)


def _cell(level: float | None, difference: Estimate) -> str:
    if level is None or difference.mean is None:
        return "–"
    half = "" if difference.high is None else f" ± {100 * (difference.high - difference.mean):.1f}"
    return f"{100 * level:.1f} ({100 * difference.mean:+.1f}{half})"


if __name__ == "__main__":
    main()

"""Write what a sweep chose into a file: an experiment of all its arms, or the best compositions of a search.

    python experiments/choose.py runs/quickstart-sweep experiments/quickstart.yaml
    python experiments/choose.py runs/recipes-vision experiments/worlds/vision.yaml --best 3 --arm "recipe vision" \
        --rates 3e-5 1e-4 3e-4 1e-3 3e-3

The choice reads validation data of the sweep's tuning stream and seeds alone. An experiment has every arm with the
learning rate and the strengths that were chosen, the sweep's `stream` and `seeds`, and all else that a sweep and an
experiment have in common; comments at the top of an existing file are kept.

With `--best`, a sweep file that is there gets so many arms more, "recipe vision-1" and so on, in the place of earlier
ones of that name: the compositions of two methods or more, no two of the same methods, that dominate the largest
areas of validation speciality and generality above (speciality of the pre-trained model, 0). What was found is
fixed, but for two fields that the arm chooses and shows a curve over, as every arm of a world does: the last
strength, in order of action, that was searched over at least four values, and the learning rates of `--rates`;
without these two, the one that was found and the next lower one of the search (or the next higher).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cl_forget.comparison.selection import default_protocol, select
from cl_forget.comparison.settings import Setting, complete, settings_of
from cl_forget.comparison.trials import load_trials
from cl_forget.config.arms import OWN_SECTIONS
from cl_forget.config.recorded import allow_code
from cl_forget.config.run import Shared
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.evaluation.metrics import hypervolume
from cl_forget.ground.errors import UserError

CURVE = 4
"""Values that a strength needs for a curve."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--probes", nargs="*", default=[], help="in the place of the sweep's")
    parser.add_argument("--best", type=int, help="compositions of a search, instead of every arm")
    parser.add_argument("--arm", default="recipe", help="what their arms are called, before the number")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="learning rates of these arms, as the world's others have"
    )
    parser.add_argument(
        "--allow-code", action="append", default=[], metavar="PLACE",
        help="code that the sweep names and that you trust, such as a file of its `imports`",
    )  # fmt: skip
    given = parser.parse_args()
    allow_code(*given.allow_code)
    if given.best:
        arms = recipes_from(given.sweep, given.best, given.rates)
        given.experiment.write_text(with_arms(given.experiment.read_text(), given.arm, arms))
        load_sweep(given.experiment)  # refuses what is no sweep
        return
    fields = experiment_from(given.sweep)
    if given.probes:
        fields["probes"] = given.probes
    head = []
    if given.experiment.exists():
        for line in given.experiment.read_text().splitlines():
            if not line.startswith("#"):
                break
            head.append(line)
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    given.experiment.write_text("\n".join([*head, text]))


def experiment_from(folder: Path) -> dict[str, Any]:
    """The fields of the experiment."""
    asked = load_sweep(folder / "sweep.yaml")
    tuned = [trial for trial in load_trials(folder) if trial.role == "tune"]
    settings = settings_of(tuned)
    choices = select(settings, asked.protocol or default_protocol(tuned))
    methods: dict[str, Any] = {}
    for arm in asked.arms:
        if arm not in choices:
            raise SystemExit(f"no setting of '{arm}' was finished: the sweep is not over.")
        setting = next(s for s in settings[arm] if s.key == choices[arm].key)
        trial = next(iter(setting.trials.values()))
        methods[arm] = {"mitigations": trial.mitigations, **own_sections(trial.config)}
    given = asked.model_dump(mode="json", exclude_defaults=True)
    shared = {name: given[name] for name in Shared.model_fields if name in given}
    return {**shared, "methods": methods, "seeds": asked.seeds}


def recipes_from(
    folder: Path, count: int, rates: list[float] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The best compositions of the sweep's searched arm: what they are and their area, and the arm of a sweep."""
    asked = load_sweep(folder / "sweep.yaml")
    arm = next((arm for arm in asked.arms if asked.own(arm).compose is not None), None)
    if arm is None:
        raise SystemExit(
            f"{folder}: no arm of this sweep has `compose`; give one of `mode: search` that has."
        )
    tuned = [trial for trial in load_trials(folder) if trial.role == "tune" and trial.method == arm]
    best = dominating(settings_of(tuned).get(arm, []), count)
    if len(best) < count:
        raise SystemExit(f"{folder}: {len(best)} compositions learn anything; ask for no more with --best.")
    return [
        (
            f"{setting.label}: {area:.1%} of the ideal area",
            recipe(asked, arm, next(iter(setting.trials.values())).config, rates),
        )
        for setting, area in best
    ]


def dominating(settings: Sequence[Setting], count: int) -> list[tuple[Setting, float]]:
    """The compositions of a search that dominate the largest areas, each by its best setting, on validation data.

    A composition has two methods or more, and counts once whatever its strengths. The area is measured from
    (speciality of the pre-trained model, generality 0), as the page's hypervolume is.

    Args:
        settings: of one arm; those that were not finished on every seed are left out.
        count: how many; fewer where no more learn anything.

    Returns:
        Each setting and its area, as a share of that up to (1, pre-trained generality); the largest first.
    """
    areas = {s.key: area_of(s) for s in complete(settings) if len(methods_of(s)) > 1}
    found: list[tuple[Setting, float]] = []
    for setting in sorted((s for s in settings if s.key in areas), key=lambda s: -areas[s.key]):
        if areas[setting.key] > 0 and all(methods_of(setting) != methods_of(other) for other, _ in found):
            found.append((setting, areas[setting.key]))
    return found[:count]


def area_of(setting: Setting) -> float:
    """The share of the ideal area that a setting dominates; 0 where it learns nothing, or a number is missing."""
    x, y = setting.mean("speciality"), setting.mean("generality")
    start, ceiling = setting.mean("speciality_pretrained"), setting.mean("generality_pretrained")
    if x is None or y is None or start is None or not ceiling or start >= 1:
        return 0.0
    return (hypervolume([(x, y)], (start, 0.0)) or 0.0) / ((1 - start) * ceiling)


def methods_of(setting: Setting) -> set[str]:
    """The names of the methods that it composes."""
    return {name for item in next(iter(setting.trials.values())).mitigations for name in item}


def recipe(
    asked: Sweep, arm: str, config: dict[str, Any], given: list[float] | None = None
) -> dict[str, Any]:
    """One setting of a search as an arm with settings of its own: four strengths at these learning rates, or two."""
    ranges = asked.ranges(arm, asked.acting(arm, config))
    members = asked.acting(arm, config)
    strengths = [f"{m.name}.{m.knob}" for m in members]
    curves = [name for name in strengths if len(values_of(ranges, name)) >= CURVE]
    if not curves:
        raise SystemExit(
            f"'{config['compose']}' has no strength of at least {CURVE} values to draw a curve over."
        )
    space = {curves[-1]: values_of(ranges, curves[-1])}
    rates = sorted(values_of(ranges, "train.lr"))
    if len(rates) > 1:
        place = max(1, rates.index(config["train.lr"]))
        space = {"train.lr": given or rates[place - 1 : place + 1], **space}
    fixed = {name: value for name, value in config.items() if name not in space}
    mitigations = []
    for m in members:
        fields = m.model_dump(mode="json", include=m.model_fields_set) | below(fixed, m.name)
        mitigations.append({m.name: fields} if fields else m.name)
    return {"mitigations": mitigations, **own_sections(fixed), "space": space}


def own_sections(fields: dict[str, Any]) -> dict[str, Any]:
    """The sections that an arm has fields of its own in, each with these."""
    return {section: own for section in OWN_SECTIONS if (own := below(fields, section))}


def values_of(ranges: dict[str, Any], field: str) -> list[Any]:
    """What a field was searched over; nothing where it was not, or over a continuum."""
    return list(ranges[field].values or []) if field in ranges else []


def below(fields: dict[str, Any], owner: str) -> dict[str, Any]:
    """The fields of one mitigation or section, without its name."""
    return {name.partition(".")[2]: v for name, v in fields.items() if name.partition(".")[0] == owner}


def with_arms(text: str, name: str, arms: list[tuple[str, dict[str, Any]]]) -> str:
    """A sweep file with these arms at the end of its methods, in the place of earlier ones of that name."""
    lines = text.splitlines()
    start = lines.index("methods:") + 1
    end = next((k for k in range(start, len(lines)) if lines[k][:1] not in ("", " ")), len(lines))
    kept, dropping = [], False
    for line in lines[start:end]:
        if len(line) - len(line.lstrip()) <= 2:
            dropping = line.startswith((f"  {name}-", f"  # {name}-"))
        if not dropping:
            kept.append(line)
    for number, (said, fields) in enumerate(arms, start=1):
        written = {
            key: yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
            for key, value in fields.items()
        }
        kept += [f"  # {name}-{number}: {said}", f"  {name}-{number}:"]
        kept += [f"    {key}: {value}" for key, value in written.items()]
    return "\n".join([*lines[:start], *kept, *lines[end:]]) + "\n"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None

"""Made-up results with the shape of real ones: plausible numbers, seeds that scatter."""

from __future__ import annotations

import numpy as np

from cl_forget.comparison.records import Curve, CurvePoint, Result
from cl_forget.evaluation.metrics import summary
from cl_forget.ground.records import Cost, Drift, ProbeScores, Row, Scores, TaskScores

TASKS = ["digits", "clocks", "letters"]
SUITES = ["emoji", "emoji-unseen-styles"]
PROBES = ["categories", "styles"]
BASE = {"digits": 0.38, "clocks": 0.21, "letters": 0.12, "emoji": 0.86, "emoji-unseen-styles": 0.62}
CONTROL = "full fine-tuning"

# method: (mitigations, final speciality, share of generality kept, forgetting of earlier tasks, cost)
METHODS: dict[str, tuple[list[dict], float, float, float, float]] = {
    CONTROL: ([], 0.955, 0.35, 0.14, 1.0),
    "WiSE-FT": ([{"wise_ft": {"alpha": 0.5}}], 0.745, 0.876, 0.03, 1.01),
    "L2-SP": ([{"l2_sp": {"strength": 0.1}}], 0.925, 0.50, 0.09, 1.03),
    "LDIFS": ([{"ldifs": {"strength": 1.0}}], 0.951, 0.79, 0.06, 1.08),
    "LDIFS + WiSE-FT": (
        [{"ldifs": {"strength": 1.0}}, {"wise_ft": {"alpha": 0.7}}],
        0.902,
        0.911,
        0.03,
        1.09,
    ),
    "FLOW": ([{"flow": {}}], 0.932, 0.74, 0.05, 1.05),
    "SAM": ([{"sam": {"rho": 0.1}}], 0.953, 0.46, 0.10, 2.01),
    "linear probe": ([{"linear_probe": {}}], 0.742, 1.0, 0.0, 0.31),
    "joint training": ([{"joint": {}}], 0.962, 0.44, 0.0, 1.0),
}
FORMULA = "θ(α) = (1-α)·θ0 + α·θ"


def make_results(
    methods: list[str] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    tasks: list[str] = TASKS,
    suites: list[str] = SUITES,
    probes: list[str] = PROBES,
) -> list[Result]:
    """One result per method and seed."""
    names = list(METHODS) if methods is None else methods
    return [_result(name, seed, tasks, suites, probes) for name in names for seed in seeds]


def _result(method: str, seed: int, tasks: list[str], suites: list[str], probes: list[str]) -> Result:
    mitigations, speciality, kept, forgotten, cost = METHODS[method]
    rng = np.random.default_rng([seed, *method.encode()])
    rows = [_row(None, 0, 0, 1, 0, tasks, suites, probes, rng, 0)]
    for j, name in enumerate(tasks, start=1):
        if method == "joint training" and j < len(tasks):
            continue
        after = " + ".join(tasks) if method == "joint training" else name
        rows.append(_row(after, j, speciality, kept, forgotten, tasks, suites, probes, rng, cost))
    return Result(
        method=method,
        seed=seed,
        model="emoji-clip",
        run={
            "model": "emoji-clip",
            "stream": tasks,
            "method": method,
            "mitigations": mitigations,
            "train": {"epochs": 5, "batch_size": 64, "lr": 3e-4},
            "suites": suites,
            "seed": seed,
        },
        tasks=tasks,
        suites=suites,
        probes=probes,
        rows=rows,
        curves=_curves(method, rows[0], tasks, suites, rng),
        metrics={"test": summary(rows, tasks, suites, [*probes, *tasks])},
        environment={
            "commit": "0123abc",
            "command": "cl-forget run sample.yaml",
            "packages": {"torch": "2.15.0"},
            "python": "3.11.7",
            "threads": 2,
        },
    )


def _row(after, j, speciality, kept, forgotten, tasks, suites, probes, rng, cost) -> Row:
    progress = j / len(tasks)
    noise = (lambda s: float(rng.normal(0, s))) if j else (lambda s: 0.0)
    accuracy = {}
    for i, name in enumerate(tasks, start=1):
        if i > j and after != " + ".join(tasks):
            accuracy[name] = BASE[name] + 0.04 * progress * kept + noise(0.01)
        else:
            accuracy[name] = speciality + 0.03 - forgotten * (j - i) / 2 + noise(0.006)
    general = {k: BASE[k] * (1 - (1 - kept) * progress**0.6) + noise(0.012) for k in suites}
    lost = (1 - kept) * progress
    return Row(
        after=after,
        tasks={name: _task(value, lost, bool(j)) for name, value in accuracy.items()},
        suites={name: _task(value, lost, bool(j)) for name, value in general.items()},
        probes={
            name: ProbeScores(accuracy=_clip(0.9 - 0.12 * lost + (0.01 * progress * kept) + noise(0.004)))
            for name in [*probes, *tasks[j:]]
        },
        drift=_drift(lost) if j else Drift(),
        cost=_cost(j, cost, noise),
    )


def _clip(value: float) -> float:
    return min(1.0, max(0.0, round(value, 4)))


def _task(accuracy: float, lost: float, tuned: bool) -> TaskScores:
    scores = Scores(
        accuracy=_clip(accuracy),
        loss=1 - accuracy,
        ece=0.03 + 0.05 * lost,
        hardest_decile_accuracy=_clip(accuracy - 0.4),
        kl_to_base=1.8 * lost + 0.4 * tuned,
        samples=360,
    )
    shifted = Scores(accuracy=_clip(accuracy * 0.86 - 0.05 * lost), samples=200)
    return TaskScores(validation=scores, test=scores, shifted={"unseen": shifted})


def _drift(lost: float) -> Drift:
    blocks = ["embedding", "block 1", "block 2", "block 3", "block 4"]
    return Drift(
        weight_distance={"all": 9 * lost + 1.0} | {b: (2 + k) * lost + 0.3 for k, b in enumerate(blocks)},
        feature_drift={b: lost * (0.1 + 0.3 * k) + 0.02 for k, b in enumerate(blocks)},
        cka={b: 1 - 0.15 * lost * k for k, b in enumerate(blocks)},
    )


def _cost(stage: int, cost: float, noise) -> Cost:
    samples = 12_000 * stage
    return Cost(
        steps=samples // 64,
        samples_seen=samples,
        forward_samples=int(samples * max(1.0, cost // 1)),
        backward_samples=int(samples * max(1.0, cost // 1)),
        frozen_samples=4_000 * stage if 1.0 < cost < 2 else 0,
        train_seconds=max(0.0, 9.5 * stage * cost + noise(0.2)),
        peak_memory_mb=410 + 60 * (cost > 1.5),
        trainable_parameters=41_000 if cost < 0.5 else 1_412_608,
    )


def _curves(method: str, base: Row, tasks: list[str], suites: list[str], rng) -> list[Curve]:
    """From the pre-trained model (α = 0) through the arm's own α to the tuned one (α = 1)."""
    if "WiSE-FT" not in method:
        return []
    _, speciality, kept, forgotten, _ = METHODS[CONTROL if method == "WiSE-FT" else "LDIFS"]
    end = speciality + 0.03 - forgotten / 2
    points = []
    for alpha in np.linspace(0, 1, 11).round(1):
        gain, loss = 1 - (1 - alpha) ** 2.2, alpha**2.4 * (1 - kept)
        tuned = {n: BASE[n] + gain * (end - BASE[n]) + float(rng.normal(0, 0.004)) for n in tasks}
        general = {n: BASE[n] * (1 - loss) for n in suites}
        row = Row(
            after=tasks[-1],
            tasks={name: _task(value, loss, alpha > 0) for name, value in tuned.items()},
            suites={name: _task(value, loss, alpha > 0) for name, value in general.items()},
        )
        points.append(CurvePoint(value=float(alpha), row=row))
    return [Curve(mitigation="wise_ft", knob="alpha", formula=FORMULA, points=points)]

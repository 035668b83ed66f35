"""Avalanche's strategies as methods under our evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import local_benchmarks  # noqa: F401
import pytest
import torch

from cl_forget.config.run import Run, parse_mitigation
from cl_forget.ground.errors import UserError
from cl_forget.mitigations.chain import Chain
from cl_forget.run.simulate import simulate
from cl_forget.streams import STREAMS
from cl_forget.streams.base import Experience, LabelSpace

OPTIONS: dict[str, dict[str, Any]] = {
    "Naive": {},
    "EWC": {"ewc_lambda": 10.0},
    "LwF": {"alpha": 1.0, "temperature": 2.0},
    "SI": {"si_lambda": 1.0},
    "MAS": {"lambda_reg": 1.0},
    "GEM": {"patterns_per_exp": 8},
    "AGEM": {"patterns_per_exp": 8, "sample_size": 8},
    "Replay": {"mem_size": 12},
    "DER": {"mem_size": 12, "batch_size_mem": 4},
    "iCaRL": {"memory_size": 8},
}


def class_incremental_squares() -> list[Experience]:
    """Two tasks of two colours each, one head."""
    import tiny

    labels = LabelSpace("colour", tuple(tiny.COLOURS), ("a {} square.",))
    stream = []
    for task in range(2):
        data = [tiny.images(4, per_class, seed=task * 10 + i) for i, per_class in enumerate((8, 3, 4))]
        splits = [d.subset([k for k, y in enumerate(d.labels) if y // 2 == task]) for d in data]
        stream.append(Experience(f"colours-{task + 1}", labels, *splits))
    return stream


STREAMS.add("class-incremental-squares", "test_strategy_as_method:class_incremental_squares")


@pytest.fixture
def run(tiny_run: Callable[..., Run]) -> Callable[..., Run]:
    def make(strategy: str, **fields: Any) -> Run:
        method = {"avalanche": {"strategy": strategy, "options": OPTIONS.get(strategy, {})}}
        base: dict[str, Any] = {
            "stream": "class-incremental-squares",
            "suites": [],
            "probes": [],
            "mitigations": [method],
            "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3},
        }
        return tiny_run(**{**base, **fields})

    return make


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_steps_end_inside_an_epoch_or_go_on_beyond_it(steps: int, run: Callable[..., Run]) -> None:
    rows = simulate(run("Naive", train={"steps": steps, "batch_size": 8, "lr": 1e-3})).rows
    assert [row.cost.steps for row in rows] == [0, steps, 2 * steps]


@pytest.mark.parametrize("strategy", OPTIONS)
def test_every_strategy_runs_under_our_evaluation(strategy: str, run: Callable[..., Run]) -> None:
    result = simulate(run(strategy))
    assert [row.after for row in result.rows] == [None, "colours-1", "colours-2"]
    cost = result.rows[-1].cost
    assert cost.steps >= 8 and cost.samples_seen >= 64 and cost.backward_samples >= 64
    assert result.rows[1].drift.weight_distance["all"] > 0


@pytest.mark.parametrize("strategy", ["Naive", "EWC", "LwF", "SI", "MAS", "GEM", "AGEM", "Replay"])
def test_tasks_with_heads_of_their_own_become_task_labels(strategy: str, run: Callable[..., Run]) -> None:
    result = simulate(run(strategy, stream="squares", train={"epochs": 1, "batch_size": 8, "lr": 1e-3}))
    assert len(result.rows) == 4


@pytest.mark.parametrize("strategy", ["EWC", "Replay", "iCaRL"])
def test_the_same_run_gives_the_same_numbers(strategy: str, run: Callable[..., Run], tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = simulate(run(strategy))
    torch.manual_seed(2)
    second = simulate(run(strategy))
    assert [row.tasks for row in first.rows] == [row.tasks for row in second.rows]


def test_naive_in_our_order_is_our_plain_loop(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: the same AdamW, schedule, clipping and loss, once the batches are the same."""
    from avalanche.training import Naive

    from cl_forget.training.loop import batches

    train = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "weight_decay": 0.1, "label_smoothing": 0.1}
    plain = simulate(run("Naive", mitigations=[], train=train))
    tasks: list[Any] = []
    seen = Chain.each

    def note(chain: Chain, hook: str, *arguments: Any) -> None:
        if hook == "finish_training" or hook == "start_task":
            tasks.append(arguments[0])
        seen(chain, hook, *arguments)

    class OurOrder:
        def __init__(self, dataset: Any, task: Any, settings: Any) -> None:
            self.dataset, self.epochs, self.number = dataset, settings.epochs, 0
            self.batches = [indices for _, (_, indices) in batches(task, settings, 0)]

        def __len__(self) -> int:
            return len(self.batches) // self.epochs

        def __iter__(self) -> Any:
            part = self.batches[self.number * len(self) : (self.number + 1) * len(self)]
            self.number += 1
            return iter([self.dataset.collate_fn([self.dataset[int(i)] for i in b]) for b in part])

    def make_train_dataloader(self: Any, **_: Any) -> None:
        self.dataloader = OurOrder(self.adapted_dataset, tasks[-1], Run.parse(dict(fields)).train)

    fields = run("Naive", train=train).model_dump()
    monkeypatch.setattr(Chain, "each", note)
    monkeypatch.setattr(Naive, "make_train_dataloader", make_train_dataloader)
    theirs = simulate(run("Naive", train=train))
    for ours, other in zip(plain.rows, theirs.rows, strict=True):
        assert ours.tasks == other.tasks
        assert ours.drift == other.drift
    for field in ("steps", "samples_seen", "forward_samples", "backward_samples"):
        assert getattr(plain.rows[-1].cost, field) == getattr(theirs.rows[-1].cost, field)


@pytest.mark.parametrize("strategy", ["EWC", "LwF", "Replay", "SI"])
def test_a_killed_run_goes_on_to_the_same_numbers(
    strategy: str, run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.run.simulation import Simulation

    fields = {"stream": "squares", "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3}}
    whole = simulate(run(strategy, **fields))
    real, calls = Simulation.fine_tune, []

    def killed(self: Simulation, stage: Any) -> None:
        calls.append(stage)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(self, stage)

    monkeypatch.setattr(Simulation, "fine_tune", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate(run(strategy, **fields), tmp_path / "run")
    monkeypatch.setattr(Simulation, "fine_tune", real)
    resumed = simulate(run(strategy, **fields), tmp_path / "run", resume=True)
    assert [row.tasks for row in whole.rows] == [row.tasks for row in resumed.rows]
    assert whole.rows[-1].cost.steps == resumed.rows[-1].cost.steps
    assert whole.rows[-1].cost.forward_samples == resumed.rows[-1].cost.forward_samples


def test_earlier_tasks_that_come_out_differently_are_noticed(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.run.simulation import Simulation

    real = Simulation.fine_tune
    monkeypatch.setattr(
        Simulation, "fine_tune", lambda self, stage: real(self, stage) if not self.past else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        simulate(run("EWC"), tmp_path / "run")
    monkeypatch.setattr(Simulation, "fine_tune", real)
    from cl_forget.avalanche import strategy as bridge

    monkeypatch.setattr(bridge, "seeded", lambda seed: _seeded_elsewhere(seed))
    with pytest.raises(UserError, match="came out differently"):
        simulate(run("EWC"), tmp_path / "run", resume=True)


def _seeded_elsewhere(seed: int) -> Any:
    from cl_forget.ground.seeds import seeded

    return seeded(seed + 1)


def test_icarl_answers_by_the_nearest_class_mean(run: Callable[..., Run]) -> None:
    """The head we evaluate says what Avalanche's own NCM classifier says."""
    from cl_forget.run.simulation import Simulation

    found: list[Any] = []
    real = Simulation.fine_tune

    class Watched(Simulation):
        def fine_tune(self, stage: Any) -> None:
            real(self, stage)
            found.append(self)

    import tempfile
    from contextlib import ExitStack

    from cl_forget.training.checkpoints import RunFolder

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        simulation = stack.enter_context(Watched.open(run("iCaRL"), RunFolder(Path(folder))))
        for stage in simulation.stages:
            simulation.fine_tune(stage)
        strategy = simulation.chain.live["avalanche"].strategy
        strategy.model.eval()
        experience = simulation.experiences[1]
        batch = simulation.evaluator.prepared(experience, "test").batch(torch.arange(len(experience.test)))
        with torch.no_grad():
            theirs = strategy.model.eval_classifier(strategy.model.feature_extractor(batch.inputs))
            ours = simulation.model(batch).logits
        # theirs = -‖x-m‖; ours = scale·(m·x - ‖m‖²/2), so theirs² = 1 - 2·ours/scale for unit x
        weight = simulation.model.head_parameters(experience)[0]
        scale = simulation.pretrained[weight].norm(dim=1).mean()
        assert torch.allclose(theirs.square(), 1 - 2 * ours / scale, atol=1e-5)
        assert torch.equal(theirs.argmax(1), ours.argmax(1))


def test_joint_and_post_hoc_methods_go_with_it(run: Callable[..., Run]) -> None:
    strategy = {"avalanche": {"strategy": "Naive"}}
    joint = simulate(run("Naive", stream="squares", mitigations=[strategy, "joint"]))
    assert len(joint.rows) == 2
    simulate(run("Naive", mitigations=[strategy, {"wise_ft": 0.5}]))


@pytest.mark.parametrize("other", ["l2_sp", "er", "sam", "lora", "lp_ft", {"wise_ft": {"feed_back": True}}])
def test_what_acts_in_our_loop_is_refused(other: Any) -> None:
    with pytest.raises(UserError, match="training loop of its own"):
        Chain([parse_mitigation({"avalanche": {"strategy": "EWC"}}), parse_mitigation(other)])


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("EWC", {}, "needs the option 'ewc_lambda'"),
        ("EWC", {"ewc_lamda": 1}, "Did you mean 'ewc_lambda'"),
        ("EWC", {"ewc_lambda": 1, "mode": "online"}, "decay_factor"),
        ("Naive", {"optimizer": 1}, "no option 'optimizer'"),
        ("nowhere:Strategy", {}, "cannot be loaded"),
    ],
)
def test_wrong_options_are_answered_in_one_line(
    strategy: str, options: dict[str, Any], message: str, run: Callable[..., Run]
) -> None:
    method = {"avalanche": {"strategy": strategy, "options": options}}
    with pytest.raises(UserError, match=message) as caught:
        simulate(run("Naive", mitigations=[method]))
    assert "\n" not in str(caught.value)


def test_streams_a_strategy_cannot_take_are_refused(run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="takes no task labels"):
        simulate(run("DER", stream="squares"))
    with pytest.raises(UserError, match="micro-batches"):
        simulate(run("Naive", train={"epochs": 1, "batch_size": 8, "micro_batch_size": 4}))
    with pytest.raises(ValueError, match="Did you mean 'Replay'"):
        parse_mitigation({"avalanche": {"strategy": "Repley"}})


def test_gem_says_what_to_install(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    import qpsolvers

    monkeypatch.setattr(qpsolvers, "available_solvers", [])
    with pytest.raises(UserError, match="pip install"):
        simulate(run("GEM"))

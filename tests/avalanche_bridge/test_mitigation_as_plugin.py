"""Our mitigations inside Avalanche's own Naive: the same weights as from our own loop."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import local_benchmarks
import pytest
import torch
from torch import nn

from cl_forget.config.run import parse_mitigation
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations.chain import Chain
from cl_forget.training.context import Edit, Task
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import batches, fine_tune, steps_of
from cl_forget.training.options import Training

TRAIN = Training(epochs=2, batch_size=8, lr=3e-3, warmup=0.0, schedule="constant", clip=None)
FEATURES = ("body.0", "body.2")


def classifier(dropout: float = 0.0) -> nn.Module:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Dropout(dropout)
            )
            self.head = nn.Linear(10, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x.flatten(1).to(self.head.weight.dtype)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Classifier().double()


def experiences(per_class: int = 10) -> list[Any]:
    return list(local_benchmarks.class_incremental(per_class).streams["train"])[:2]


class FixedOrder:
    """Avalanche's loader in the order of our loop."""

    def __init__(self, dataset: Any, index: int, batches: list[torch.Tensor]) -> None:
        self.dataset, self.batches, self.epoch = dataset, batches, 0

    def __len__(self) -> int:
        return len(self.batches) // TRAIN.epochs

    def __iter__(self) -> Any:
        part = self.batches[self.epoch * len(self) : (self.epoch + 1) * len(self)]
        self.epoch += 1
        return iter([self.dataset.collate_fn([self.dataset[int(i)] for i in b]) for b in part])


def our_loop(module: nn.Module, stream: Sequence[Any], chain: Chain) -> list[list[torch.Tensor]]:
    """The order of the data, experience by experience; the module is trained in place, by `fine_tune`."""
    from cl_forget.avalanche.model import AvalancheSamples, ModuleModel, named_experience

    model = ModuleModel(module, FEATURES)
    model.zero_shot = True  # the module's own head is the start, as it is under Avalanche
    weights = lambda: {n: t.detach().clone() for n, t in model.state_dict().items()}  # noqa: E731
    pretrained, base, past, orders, history, starts = weights(), FrozenModel(model), [], [], [], []
    for index, one in enumerate(stream):
        experience = named_experience(index + 1, torch.tensor(list(one.dataset.targets)), 6)
        source = AvalancheSamples(one.dataset, experience, "train", torch.device("cpu"))
        previous = FrozenModel(model) if index else base
        task = Task(
            model=model, stage=(experience,), index=index, sources=[source], validation=[], past=list(past),
            pretrained=pretrained, start=weights(), seed=0, steps=steps_of([source], TRAIN),
            frozen=FrozenOutputs(FrozenCache(None), {"pretrained": base, "previous": previous}),
            batch_size=TRAIN.batch_size,
        )  # fmt: skip
        orders.append([indices for _, (_, indices) in batches(task, TRAIN, 0)])
        fine_tune(task, chain, TRAIN, Cost())
        past.append(source)
        tuned = weights()
        history.append(lambda tuned=tuned: tuned)
        starts.append(lambda start=task.start: start)
        edit = Edit(model, pretrained, task.start, list(history), list(starts), task)
        end = index + 1 == len(stream)
        model.load_state_dict(chain.edit_weights(edit, tuned) if end else chain.next_start(edit, tuned))
    return orders


def naive(module: nn.Module, plugins: Sequence[Any], **options: Any) -> Any:
    from avalanche.training import Naive

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return Naive(
            model=module,
            optimizer=torch.optim.AdamW(module.parameters(), lr=TRAIN.lr, weight_decay=0.0, fused=True),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=TRAIN.batch_size,
            train_epochs=TRAIN.epochs,
            plugins=list(plugins),
            evaluator=options.pop("evaluator", None),
            **options,
        )


def their_loop(module: nn.Module, stream: Sequence[Any], plugin: Any, orders: list[Any]) -> None:
    strategy = naive(module, [plugin] if plugin else [])
    for index, experience in enumerate(stream):

        def make(index: int = index, **_: Any) -> None:
            strategy.dataloader = FixedOrder(strategy.adapted_dataset, index, orders[index])

        strategy.make_train_dataloader = make
        strategy.optimizer.state.clear()
        strategy.train(experience, eval_streams=[])


METHODS: list[Any] = [
    {"l2_sp": 0.05},
    {"l1_sp": 0.01},
    {"ewc": 50.0},
    {"mas": 5.0},
    {"si": 5.0},
    {"ldifs": {"strength": 50.0, "normalise": "channel"}},
    {"kd": 0.5},
    {"lwf": 2.0},
    {"kl_to_base": 1.0},
    {"lfl": 0.5},
    {"er": {"share": 0.5, "memory": 10}},
    {"derpp": {"memory": 10}},
    {"sam": 0.1},
    {"asam": 1.0},
    {"looksam": {}},
    {"mofo": 0.2},
    {"wise_ft": 0.5},
    {"wise_ft": {"feed_back": True}},
    {"task_arithmetic": 0.5},
    "restart",
    {"lora": {"rank": 2}},
    "linear_probe",
    "lp_ft",
]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_plugin_in_naive_gives_the_weights_of_our_own_loop(method: Any) -> None:
    from cl_forget.avalanche import as_plugin

    mitigation, stream = parse_mitigation(method), experiences()
    ours, theirs, plain = classifier(), classifier(), classifier()
    orders = our_loop(ours, stream, Chain([mitigation]))
    their_loop(theirs, stream, as_plugin(mitigation, features=FEATURES), orders)
    their_loop(plain, stream, None, orders)
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-9), name
    moved = [(a - b).abs().max().item() for a, b in zip(theirs.parameters(), plain.parameters(), strict=True)]
    assert max(moved) > 1e-5


def test_no_mitigation_is_naive_to_the_bit() -> None:
    from cl_forget.avalanche import as_plugin

    stream, ours, with_plugin, without = experiences(), classifier(), classifier(), classifier()
    orders = our_loop(ours, stream, Chain())
    their_loop(with_plugin, stream, as_plugin([]), orders)
    their_loop(without, stream, None, orders)
    for a, b, c in zip(ours.parameters(), with_plugin.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)


def test_several_compose_in_one_plugin() -> None:
    from cl_forget.avalanche import as_plugin

    items = [{"l2_sp": 0.01}, {"sam": 0.05}, {"ldifs": {"normalise": "none"}}, {"er": 0.5}, {"wise_ft": 0.7}]
    chain = [parse_mitigation(item) for item in items]
    stream, ours, theirs = experiences(), classifier(), classifier()
    orders = our_loop(ours, stream, Chain(chain))
    their_loop(theirs, stream, as_plugin(reversed(chain), features=FEATURES), orders)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


def test_the_second_pass_of_sam_sees_the_same_dropout() -> None:
    """At ρ → 0 SAM is plain descent, but only if both passes drop the same units."""
    from cl_forget.avalanche import as_plugin

    stream = experiences()[:1]
    results = []
    for method in ([], [parse_mitigation({"sam": 1e-12})]):
        module = classifier(dropout=0.5)
        strategy = naive(module, [as_plugin(method)])
        torch.manual_seed(5)
        strategy.train(stream, eval_streams=[])
        results.append([p.detach().clone() for p in module.parameters()])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-8)


def test_post_hoc_edits_are_evaluated_and_training_goes_on_from_the_tuned_weights() -> None:
    from cl_forget.avalanche import as_plugin

    stream = experiences()
    start, module = classifier(), classifier()
    strategy = naive(module, [as_plugin(parse_mitigation({"wise_ft": 0.25}))])
    tuned_module = classifier()
    tuned = naive(tuned_module, [])
    for experience in stream:
        for one in (strategy, tuned):
            torch.manual_seed(1)
            one.train(experience, eval_streams=[])
        for a, b, c in zip(start.parameters(), tuned_module.parameters(), module.parameters(), strict=True):
            assert torch.allclose(c, torch.lerp(a, b, 0.25), rtol=0, atol=1e-12)


def test_it_runs_beside_avalanches_own_plugins_and_evaluation() -> None:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin

    from cl_forget.avalanche import as_plugin

    bench = local_benchmarks.class_incremental(20)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        evaluator = EvaluationPlugin(accuracy_metrics(stream=True), strict_checks=False)
    plugins = [ReplayPlugin(30), EWCPlugin(0.1), as_plugin(parse_mitigation({"sam": 0.05}))]
    strategy = naive(classifier(), plugins, evaluator=evaluator)
    strategy.train_epochs = 8
    strategy.train(bench.streams["train"], eval_streams=[])
    metrics = strategy.eval(bench.streams["test"])
    assert next(iter(metrics.values())) > 0.3


def test_a_task_aware_benchmark_and_a_multi_head_model() -> None:
    from avalanche.models import MultiTaskModule

    from cl_forget.avalanche import as_plugin

    class HeadPerTask(MultiTaskModule):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(64, 6) for _ in range(3)])
            self.max_class_label = 6

        def forward_single_task(self, x: torch.Tensor, task_label: int) -> torch.Tensor:
            return self.heads[task_label](x.flatten(1))

    ends = []
    for strength in (0.0, 0.5):
        torch.manual_seed(2)
        module = HeadPerTask()
        start = copy.deepcopy(module.state_dict())
        strategy = naive(module, [as_plugin(parse_mitigation({"l2_sp": strength}))])
        strategy.optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
        strategy.train(local_benchmarks.task_aware(10).streams["train"], eval_streams=[])
        assert all(not torch.equal(start[name], tensor) for name, tensor in module.state_dict().items())
        ends.append(sum(float((start[n] - t).norm()) for n, t in module.state_dict().items()))
    assert ends[0] > 1.2 * ends[1]
    multi_head = naive(HeadPerTask(), [as_plugin(parse_mitigation({"lwf": 1.0}))])
    with pytest.raises(UserError, match="use kd instead"):
        multi_head.train(local_benchmarks.task_aware(10).streams["train"], eval_streams=[])


def test_a_head_without_gradient_stays_where_it_is() -> None:
    """A zero gradient is not no gradient: AdamW would move the head of an old task by its momentum."""
    from cl_forget.avalanche import as_plugin

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(64, 6), nn.Linear(64, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x.flatten(1))

    module = Unused()
    strategy = naive(module, [as_plugin(parse_mitigation({"l2_sp": 0.1}))])
    moments = {
        "step": torch.tensor(1.0), "exp_avg": torch.ones(6, 64), "exp_avg_sq": torch.ones(6, 64)
    }  # fmt: skip
    before = module.unused.weight.detach().clone()
    seen: list[bool] = []
    real = strategy.optimizer_step

    def step() -> None:
        strategy.optimizer.state[module.unused.weight] = dict(moments)
        seen.append(module.unused.weight.grad is None)
        real()

    strategy.optimizer_step = step
    strategy.train(experiences()[0], eval_streams=[])
    assert all(seen) and torch.equal(before, module.unused.weight)


def test_a_model_that_grows_is_refused() -> None:
    from avalanche.models import IncrementalClassifier

    from cl_forget.avalanche import as_plugin

    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = IncrementalClassifier(64, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1))

    strategy = naive(Growing(), [as_plugin(parse_mitigation({"l2_sp": 1.0}))])
    with pytest.raises(UserError, match="grew during training"):
        strategy.train(experiences(), eval_streams=[])


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("joint", "trained together"),
        ("avalanche", "training loop of its own"),
        ("low_lr", "learning rates"),
        ("fewer_steps", "fewer epochs"),
        ("flyp", "text tower"),
        ({"zscl": {"reference": "digits"}}, "text tower"),
        ("flow", "by their number"),
        ("early_stopping", "validation"),
        ("ldifs", "features"),
    ],
)
def test_what_has_no_meaning_there_is_refused_with_the_reason(method: Any, reason: str) -> None:
    from cl_forget.avalanche import as_plugin

    with pytest.raises(UserError, match=reason):
        as_plugin(parse_mitigation(method))


def test_early_stopping_reads_the_validation_stream() -> None:
    from cl_forget.avalanche import as_plugin

    bench = local_benchmarks.class_incremental(20, validation=True)
    method = parse_mitigation({"early_stopping": {"patience": 1}})
    strategy = naive(classifier(), [as_plugin(method, validation=bench.streams["valid"])])
    strategy.train_epochs = 40
    strategy.train(next(iter(bench.streams["train"])), eval_streams=[])
    assert strategy.clock.train_iterations < 40 * 4


def test_vectors_have_no_tokens_to_normalise_over() -> None:
    from cl_forget.avalanche import as_plugin

    strategy = naive(classifier(), [as_plugin(parse_mitigation("ldifs"), features=FEATURES)])
    with pytest.raises(UserError, match="one vector"):
        strategy.train(experiences()[0], eval_streams=[])


def test_unknown_submodules_are_named() -> None:
    from cl_forget.avalanche import ModuleModel

    with pytest.raises(UserError, match=r"no submodule 'body\.9'"):
        ModuleModel(classifier(), features=["body.9"])

"""A checkpoint is read to the model's device, and data sets are counted on the CPU: indices must come home.

No second device is needed to see it: `Elsewhere` is a tensor that, like one on a GPU, can be sized, copied and
sent home, but neither indexes nor is mixed with what lies on the CPU.
"""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, Bigrams, clip, sentences, task_of, weights
from small import mitigation

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.training.loop import fine_tune

AT_HOME_ANYWHERE = {"cpu", "__get__", "__len__", "size", "dim", "numel", "clone", "detach", "to"}


class Elsewhere(torch.Tensor):
    """An integer tensor on another device."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name == "cpu":
            return args[0].as_subclass(torch.Tensor)
        alone = name in AT_HOME_ANYWHERE or (isinstance(args[0], torch.Tensor) and not args[0].dim())
        if not alone:
            raise RuntimeError(f"{name}: indices should be either on cpu or on the same device as the tensor")
        return super().__torch_function__(function, types, args, kwargs or {})


def sent_away(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a checkpoint of this state gives on another device, as far as it counts samples."""
    return {
        n: t if t.is_floating_point() or not t.dim() else t.as_subclass(Elsewhere) for n, t in state.items()
    }


def test_the_stand_in_refuses_what_a_device_would() -> None:
    away = torch.arange(3).as_subclass(Elsewhere)
    for use in (
        lambda: torch.arange(9)[away],
        lambda: away + torch.arange(3),
        lambda: torch.cat([away, away]),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            use()
    assert torch.equal(torch.arange(9)[away.cpu()], torch.arange(3))


@pytest.mark.parametrize("name", ["er", "derpp"])
def test_a_memory_from_a_checkpoint_is_replayed(name: str) -> None:
    found = []
    for send in (dict, sent_away):
        model, chain = clip(), Chain([mitigation(name)])
        chain.each("end_task", task_of(model, TASKS[:1]))
        chain.state[name] = send(chain.state[name])
        fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1]), chain, TRAIN, Cost())
        found.append(weights(model))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.parametrize(
    "method", [mitigation("flow", level="unit"), mitigation("flow")], ids=["unit", "sample"]
)
def test_weights_of_tokens_from_a_checkpoint_are_found(method: Mitigation) -> None:
    found = []
    for send in (dict, sent_away):
        task, chain = task_of(Bigrams(), [sentences()]), Chain([method])
        chain.start(task)
        chain.state["flow"] = send(chain.state["flow"])
        fine_tune(task, chain, TRAIN, Cost())
        found.append(weights(task.model))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])

"""Every method for texts on the shapes of language models that people tune: Qwen3, Gemma 3, GPT-NeoX, Mixtral."""

from __future__ import annotations

import copy
import functools

import pytest
import tiny_lm
from mitigations.test_language import FIELDS, REFUSED

from cl_forget.mitigations import MITIGATIONS
from cl_forget.models.causal_lm import CausalLM
from cl_forget.testing.driving import finite, train
from cl_forget.testing.worlds import World

SHAPES = ("qwen3", "gemma3_text", "gpt_neox", "mixtral")
TASKS = tuple(tiny_lm.sums(tasks=2, count=8))
GIVEN = FIELDS | {"stm": {"threshold": 1000.0}}  # at random weights no token is expected


@functools.cache
def made(kind: str) -> CausalLM:
    if kind in tiny_lm.MIXTURES:
        return CausalLM(tiny_lm.mixture(kind), tiny_lm.tokenizer())
    return tiny_lm.other(kind)


@pytest.mark.parametrize("name", [name for name in MITIGATIONS.names() if name not in REFUSED])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_method_trains_two_tasks_on_the_shape(kind: str, name: str) -> None:
    world = World("language", lambda: copy.deepcopy(made(kind)), TASKS)
    before = made(kind).state_dict()
    outcome = train(world, [MITIGATIONS.get(name)(**GIVEN.get(name, {}))])
    assert outcome.stages and finite(outcome.weights)
    assert any(not outcome.weights[key].equal(tensor) for key, tensor in before.items())

"""SDFT and Self-SFT against loops that take one sample at a time, without batches and without a cache."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny_lm
import torch
from drive import assert_close, clip, resumed, task_of, tuned, weights
from mitigations.test_language import run
from pydantic import ValidationError
from tiny import experience
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.mitigations.kl_to_base import KLToBase
from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.sam import SAM
from cl_forget.mitigations.sdft import SDFT
from cl_forget.mitigations.self_sft import SelfSFT
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.options import TextOptions
from cl_forget.run.simulate import simulate
from cl_forget.streams import TextData, text_experience
from cl_forget.streams.base import Experience
from cl_forget.streams.scoring import Scoring
from cl_forget.training.context import Task
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training

SHOWN = "{response}={prompt}"
END = 2


def begins_early(prompt: str, answer: str, response: str) -> bool:
    """A judge of the form alone: the answer begins with one of the first letters."""
    return answer[:1] in tuple("abcdefghijklm")


PAIRS = [
    ("1+2=", "3"),
    ("4+9=", "13"),
    ("what is 0+7=", "7"),
    ("8+8=", "16"),
    ("5*2=", "10"),
    ("9-4=", "5"),
    ("2?", "2"),
]
DATA = TextData([answer for _, answer in PAIRS], [prompt for prompt, _ in PAIRS])
TASK = text_experience("free", DATA, DATA, DATA, Scoring(judge=begins_early, max_new_tokens=4))
TRAIN = Training(epochs=2, batch_size=3, lr=1e-3, warmup=0, schedule="constant", clip=None)


def model_of(top: int = 64) -> CausalLM:
    return tiny_lm.tiny_lm(TextOptions(top_logits=top)).double()


def task(stage: Sequence[Experience] = (TASK,), train: Training = TRAIN) -> Task:
    return task_of(model_of(), stage, train=train)


# -- written out ---------------------------------------------------------------------------------------


def one_by_one(
    model: Any,
    prompt: list[int],
    seed: int,
    index: int,
    length: int,
    heat: float = 1.0,
    ends: tuple[int, ...] = (END,),
) -> list[int]:
    """An answer, each token from a pass over everything before it; the sums of probabilities are taken in a loop."""
    chances = np.random.default_rng((seed, index)).random(length)
    said: list[int] = []
    for chance in chances:
        with torch.no_grad():
            logits = model.lm(input_ids=torch.tensor([prompt + said])).logits[0, -1]
        p = [math.exp(value / heat) for value in logits.float().tolist()]
        reached, wanted = 0.0, chance * sum(p)
        token = -1
        while reached <= wanted:
            token += 1
            reached += p[token]
        said.append(token)
        if token in ends:
            break
    return said


def ids(model: CausalLM, text: str) -> list[int]:
    return model._tokenizer(text)["input_ids"]


def logits_of(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """(tokens of the answer, vocabulary)."""
    return model.lm(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]


def divergence(teacher: Tensor, now: Tensor, top: int, reverse: bool) -> Tensor:
    """Mean over tokens of the divergence over the teacher's `top` likeliest tokens and all others as one."""
    total = 0.0
    for before, after in zip(teacher.detach().softmax(-1), now.softmax(-1), strict=True):
        kept = before.argsort(descending=True)[:top]
        pairs = [(before[i], after[i]) for i in kept]
        if top < len(before):
            pairs.append((1 - before[kept].sum(), 1 - after[kept].sum()))
        pairs = [(q, p) for p, q in pairs] if reverse else pairs
        total = total + sum(p * (p / q).log() for p, q in pairs)
    return total / len(teacher)


def sdft_written_out(method: SDFT) -> dict[str, Tensor]:
    """Two epochs by AdamW, one sample at a time."""
    of = task()
    student, base = of.model, copy.deepcopy(of.model)
    average = copy.deepcopy(base)
    trained = list(student.requires_grad_(True).parameters())
    optimizer = torch.optim.AdamW(trained, lr=TRAIN.lr, weight_decay=0.0)
    number = 0
    for epoch in range(TRAIN.epochs):
        for part in torch.randperm(7, generator=of.generator("order", epoch)).split(TRAIN.batch_size):
            seed = of.generator("augmentation", number).initial_seed()
            teacher = {0.0: base, 1.0: student}.get(method.rate, average)
            loss = 0.0
            for index in part.tolist():
                prompt, response = PAIRS[index]
                asked = ids(student, prompt)
                shown = ids(
                    student, method.template.replace("{response}", response).replace("{prompt}", prompt)
                )
                answer = one_by_one(student, asked, seed, index, method.length or 4, method.temperature)
                with torch.no_grad():
                    said = logits_of(teacher, shown, answer)
                now = logits_of(student, asked, answer)
                loss = loss + divergence(said, now, method.top, method.direction == "reverse") / len(part)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mean, value in zip(average.parameters(), trained, strict=True):
                    mean += method.rate * (value - mean)
            number += 1
    return weights(student)


# -- sampling ------------------------------------------------------------------------------------------


def test_answers_are_those_of_one_prompt_at_a_time_whoever_is_asked_beside_it() -> None:
    model = model_of()
    samples = model.prepare(DATA, TASK, "train")
    samples.form.ends = (END, *range(20, 26))
    prompts = model.prompts(samples, length=16)
    together = prompts.answer(model, torch.arange(7), seed=11, temperature=0.7)
    alone = [
        one_by_one(model, ids(model, prompt), 11, i, 16, 0.7, samples.form.ends)
        for i, (prompt, _) in enumerate(PAIRS)
    ]
    assert together == alone and len({len(own) for own in alone}) > 1, "some are to end before others"
    assert prompts.answer(model, torch.tensor([5, 2]), seed=11, temperature=0.7) == [alone[5], alone[2]]
    assert prompts.answer(model, torch.arange(7), seed=12, temperature=0.7) != together


def test_tokens_are_drawn_as_often_as_the_model_says() -> None:
    """4,000 first tokens after one prompt; by chance a count is within 4.5 standard deviations."""
    model = model_of()
    samples = model.prepare(DATA, TASK, "train")
    prompts = model.prompts(samples, length=1)
    with torch.no_grad():
        p = model.lm(input_ids=torch.tensor([ids(model, "2?")])).logits[0, -1].softmax(-1)
    first = torch.zeros(len(p))
    for seed in range(4000 // 500):
        twin = copy.copy(prompts)
        twin._heads = [prompts._heads[6]] * 500
        for (token,) in twin.answer(model, torch.arange(500), seed):
            first[token] += 1
    away = (first - 4000 * p).abs() / (4000 * p * (1 - p)).sqrt().clamp_min(1)
    assert float(away.max()) < 4.5 and int((first > 0).sum()) > 10


# -- SDFT ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        SDFT(template=SHOWN, rate=0.1),
        SDFT(template=SHOWN, rate=0.0, top=5, temperature=0.8),
        SDFT(template="copy {response}", rate=1.0, direction="reverse", length=2, top=60),
    ],
    ids=["average", "frozen", "live"],
)
def test_sdft_is_what_is_written_out(method: SDFT) -> None:
    ours = tuned(task(), method, train=TRAIN)
    assert_close(ours, sdft_written_out(method))
    assert any(not torch.equal(ours[name], tensor) for name, tensor in weights(model_of()).items())


def test_sdft_in_micro_batches_is_sdft() -> None:
    """Each sample has its own random numbers."""
    small = TRAIN.model_copy(update={"micro_batch_size": 1})
    method = SDFT(template=SHOWN)
    assert_close(tuned(task(train=small), method, train=small), tuned(task(), method, train=TRAIN))


@pytest.mark.parametrize("partners", [[], [KLToBase(strength=0.5), SAM(rho=0.01)], [LoRA(rank=2)]], ids=str)
def test_sdft_continued_from_a_checkpoint_ends_with_the_same_bits(partners: list[Mitigation]) -> None:
    resumed(task, SDFT(template=SHOWN, rate=0.1), *partners, train=TRAIN)


def cost_of(*methods: Mitigation, stage: Sequence[Experience] = (TASK,)) -> tuple[Cost, int]:
    """What training has cost, and what the frozen models were asked."""
    of, cost = task(stage), Cost()
    fine_tune(of, Chain(methods), TRAIN, cost)
    return cost, of.frozen.samples_asked


def test_sampling_and_teaching_are_part_of_the_cost() -> None:
    """Two epochs of seven samples; SAM's second pass sees the answers and the teacher of the first."""
    plain, _ = cost_of()
    assert (plain.forward_samples, plain.backward_samples) == (14, 14)
    cost, frozen = cost_of(SDFT(template=SHOWN))
    assert (cost.forward_samples, cost.backward_samples, frozen) == (14 + 14 + 14, 14, 0)
    cost, frozen = cost_of(SDFT(template=SHOWN, rate=0))
    assert (cost.forward_samples, cost.backward_samples, frozen) == (14 + 14, 14, 14)
    cost, frozen = cost_of(SDFT(template=SHOWN), SAM())
    assert (cost.forward_samples, cost.backward_samples, frozen) == (14 + 14 + 28, 28, 0)


def test_a_conversation_shows_the_answer_in_its_last_turn() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "1+1="},
    ]
    data = TextData(["2"], [turns])
    chatty = text_experience("chat", data, data, data)
    model = tiny_lm.tiny_lm(chat=True)
    samples = model.prepare(data, chatty, "train")
    shown = model.prompts(samples, shown="{prompt}{response}<{prompt}>")._heads[0]
    said = model._tokenizer.decode(shown)
    assert said == "<|user|>a</s><|assistant|>b</s><|user|>1+1=2<1+1=></s><|assistant|>"


# -- Self-SFT ------------------------------------------------------------------------------------------


def drawn_by_hand(tries: int, heat: float = 1.0) -> tuple[list[list[int] | None], int]:
    """The first accepted answer of the untuned model to each item, and how many were drawn."""
    of = task()
    found: list[list[int] | None] = []
    drawn = 0
    for index, (prompt, response) in enumerate(PAIRS):
        found.append(None)
        for attempt in range(tries):
            seed = of.generator("self_sft free", attempt).initial_seed()
            answer = one_by_one(of.model, ids(of.model, prompt), seed, index, 4, heat)
            drawn += 1
            text = of.model._tokenizer.decode(
                [token for token in answer if token != END], skip_special_tokens=True
            )
            if begins_early(prompt, text, response):
                found[index] = answer
                break
    return found, drawn


def by_adamw(pairs: list[tuple[str, list[int]]]) -> dict[str, Tensor]:
    """Plain fine-tuning on these answers, one sample at a time."""
    of = task()
    optimizer = torch.optim.AdamW(of.model.requires_grad_(True).parameters(), lr=TRAIN.lr, weight_decay=0.0)
    for epoch in range(TRAIN.epochs):
        for part in torch.randperm(7, generator=of.generator("order", epoch)).split(TRAIN.batch_size):
            optimizer.zero_grad()
            for prompt, answer in (pairs[i] for i in part.tolist()):
                logits = logits_of(of.model, ids(of.model, prompt), answer)
                (torch.nn.functional.cross_entropy(logits, torch.tensor(answer)) / len(part)).backward()
            optimizer.step()
    return weights(of.model)


def test_self_sft_trains_on_the_first_accepted_answer_and_else_on_the_data_s() -> None:
    found, drawn = drawn_by_hand(tries=2)
    assert 0 < sum(own is not None for own in found) < 7, "some are to be accepted, and not all"
    of, chain, cost = task(), Chain([SelfSFT(tries=2)]), Cost()
    fine_tune(of, chain, TRAIN, cost)
    gold = [[*ids(of.model, response)[1:], END] for _, response in PAIRS]
    pairs = [(prompt, own or gold[i]) for i, ((prompt, _), own) in enumerate(zip(PAIRS, found, strict=True))]
    assert_close(weights(of.model), by_adamw(pairs))
    kept = sum(own is not None for own in found)
    assert chain.state["self_sft"].counts["free"].tolist() == [7, kept, drawn]
    assert of.frozen.samples_asked == drawn and (cost.forward_samples, cost.backward_samples) == (14, 14)
    assert chain.findings() == [
        f"On free {kept / 7:.0%} of 7 items have an accepted answer of the pre-trained model ({drawn} "
        "drawn); the others keep the data's."
    ]
    assert of.sources[0].data is DATA and torch.equal(
        of.sources[0].table.units, torch.tensor([2, 3, 2, 3, 3, 2, 2])
    )


def test_items_left_out_give_their_place_to_others() -> None:
    found, _ = drawn_by_hand(tries=2)
    of, chain = task(), Chain([SelfSFT(tries=2, otherwise="left out")])
    (samples,) = chain.training_data(of)
    places = chain.state["self_sft"].places["free"].tolist()
    kept = [i for i, own in enumerate(found) if own is not None]
    free = [i for i in range(7) if i not in kept]
    assert [places[i] for i in kept] == kept and set(places) == set(kept)
    given = [places[i] for i in free]
    assert max(given.count(i) for i in kept) - min(given.count(i) for i in kept) <= 1
    for place, item in enumerate(places):
        assert samples.table.sample(place).tolist() == [*ids(of.model, PAIRS[item][0]), *found[item]]


def test_self_sft_continued_from_a_checkpoint_ends_with_the_same_bits() -> None:
    resumed(task, SelfSFT(tries=2), KLToBase(strength=0.5), train=TRAIN)


def test_a_judge_to_the_letter_accepts_the_response_alone() -> None:
    exact = text_experience("exact", DATA, DATA, DATA)
    model = model_of()
    prompts = model.prompts(model.prepare(DATA, exact, "train"))
    three = ids(model, "3")[1:]
    assert prompts.accepts(0, [*three, END]) and not prompts.accepts(1, [*three, END])
    assert not prompts.accepts(0, three), "it did not come to its end"


def test_what_was_kept_stands_in_the_result(tmp_path: Any) -> None:
    asked = run({"self_sft": {"tries": 1}}, stream={"sums": {"tasks": 2, "count": 6}})
    notes = [note for note in simulate(asked, tmp_path / "a").notes if "accepted answer" in note]
    assert len(notes) == 2 and notes[0].startswith("On sums-1 ") and "6 items" in notes[0]


# -- refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SDFT(), SelfSFT()], ids=lambda m: m.name)
def test_images_and_plain_texts_are_refused_in_one_line(method: Mitigation) -> None:
    squares = [experience("squares", seed=1)]
    plain = TextData(["all of it is the response"])
    prose = text_experience("prose", plain, plain, plain, "perplexity")
    for model, tasks, reason in (
        (clip(squares), squares, "gives no answers of its own in words"),
        (model_of(), [prose], "without a prompt"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            Chain([method]).check(model, tasks)
        assert "\n" not in str(caught.value)


def test_a_task_without_a_judge_is_refused_by_self_sft_alone() -> None:
    unjudged = text_experience("fluent", DATA, DATA, DATA, "perplexity")
    Chain([SDFT()]).check(model_of(), [unjudged])
    with pytest.raises(UserError, match="judges no answer"):
        Chain([SelfSFT()]).check(model_of(), [unjudged])


def test_nothing_to_train_on_is_refused() -> None:
    never = text_experience("never", DATA, DATA, DATA)
    with pytest.raises(UserError, match=r"none of 7 answers to 'never' was accepted.*otherwise: gold"):
        tuned(task([never]), SelfSFT(tries=1, otherwise="left out"), train=TRAIN)


def test_a_template_that_hides_the_answer_or_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"needs \{response\}"):
        SDFT(template="{prompt}")
    with pytest.raises(
        UserError, match=r"sample 2 has .* tokens where its response is shown.*too_long=truncate"
    ):
        tuned(task(), SDFT(), train=TRAIN)


def test_both_decide_the_data_and_say_so() -> None:
    with pytest.raises(UserError, match="both decide the data that the steps are taken on; keep one"):
        Chain([SDFT(), SelfSFT()])

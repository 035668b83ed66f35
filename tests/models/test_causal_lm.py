"""The language-model interface against transformers' own losses, one sample at a time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny_lm
import torch
from tiny_lm import ARCHITECTURES, copies, folder, llama, odd_one, other, rhyme, sum_task, tokenizer
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models._answers import _generate, decode
from cl_forget.models._texts import PreparedTexts
from cl_forget.models.base import Batch
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.options import TextOptions
from cl_forget.streams import TextData, text_experience
from cl_forget.streams.text import Origin

TASK = sum_task()


def prepared(model: CausalLM, experience: Any = TASK, split: str = "test") -> PreparedTexts:
    return model.prepare(experience.splits()[split], experience, split)


def by_the_book(model: CausalLM, samples: PreparedTexts, index: int) -> Tensor:
    """transformers' own loss on one sample, the prompt's labels left out."""
    ids = samples.table.sample(index)[None]
    labels = ids.clone()
    labels[:, : int(samples.table.response[index])] = -100
    return model.lm(input_ids=ids, labels=labels).loss


def whole(samples: PreparedTexts, packed: bool | None = None) -> Batch:
    return samples.laid_out(samples.table, torch.arange(len(samples)), packed)


# -- forward -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_are_those_of_transformers_packed_or_padded(packed: bool, attention: str) -> None:
    model = CausalLM(llama(attn_implementation=attention), tokenizer())
    samples = prepared(model)
    batch = whole(samples, packed)
    assert len(batch.inputs.ids) < len(samples) if packed else len(batch.inputs.ids) == len(samples)
    forward = model(batch)
    losses = forward.per_sample(forward.unit_losses())
    for index, loss in enumerate(losses):
        torch.testing.assert_close(loss, by_the_book(model, samples, index), atol=1e-5, rtol=0)


def gradients(model: CausalLM, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_packed_and_padded_gradients_agree() -> None:
    model = tiny_lm.tiny_lm().double().requires_grad_(True)
    samples = prepared(model)
    both = []
    for packed in (False, True):
        forward = model(whole(samples, packed))
        both.append(gradients(model, forward.per_sample(forward.unit_losses()).mean()))
    for one, two in zip(*both, strict=True):
        torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


def test_features_and_embedding_do_not_depend_on_the_layout_or_the_company() -> None:
    model = tiny_lm.tiny_lm()
    samples = prepared(model)
    alone = [model(samples.batch(torch.tensor([i])), model.depths) for i in range(len(samples))]
    for packed in (False, True):
        forward = model(whole(samples, packed), model.depths)
        for depth in model.depths:
            expected = torch.cat([one.features[depth] for one in alone])
            torch.testing.assert_close(forward.features[depth], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            forward.embedding, torch.cat([one.embedding for one in alone]), atol=1e-5, rtol=0
        )
    last = tiny_lm.tiny_lm(TextOptions(embedding="last"))
    ids = samples.table.sample(3)
    hidden = last.lm.model(input_ids=ids[None]).last_hidden_state[0]
    embedded = last(prepared(last).batch(torch.tensor([3]))).embedding[0]
    torch.testing.assert_close(embedded, hidden[len(ids) - 2])


def test_features_are_the_hidden_states_of_transformers() -> None:
    model = tiny_lm.tiny_lm()
    samples = prepared(model, rhyme())
    forward = model(samples.batch(torch.tensor([0])), model.depths)
    ids = samples.table.sample(0)
    states = model.lm(input_ids=ids[None], output_hidden_states=True).hidden_states
    units = len(ids) - 1
    places = [k * (units - 1) // 15 for k in range(16)]
    torch.testing.assert_close(forward.features["embeddings"][0], states[0][0, places])
    torch.testing.assert_close(forward.features["block 1"][0], states[1][0, places])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures_need_no_code_of_their_own(kind: str) -> None:
    model = other(kind)
    samples = prepared(model)
    forward = model(whole(samples), model.depths)
    for index, loss in enumerate(forward.per_sample(forward.unit_losses())):
        torch.testing.assert_close(loss, by_the_book(model, samples, index), atol=1e-5, rtol=0)
    assert model.blocks == 2
    assert {model.block_of(name) for name, _ in model.named_parameters()} == {None, 0, 1}
    assert model.layer_of(next(n for n, p in model.named_parameters() if p.shape[0] == 54)) == 0
    # A position bias knows nothing of shared rows, and their mask would take the place of a sliding window.
    assert model.packs == (kind not in ("bloom", "gemma3_text"))


# -- tied weights, files -------------------------------------------------------------------------------


def test_tied_weights_are_one_tensor_everywhere(tmp_path: Path) -> None:
    model = tiny_lm.tiny_lm(tied=True)
    names = [name for name, _ in model.named_parameters()]
    assert "lm.lm_head.weight" not in model.state_dict()
    assert list(model.state_dict()) == names
    moved = {name: value + 1 for name, value in model.state_dict().items()}
    twin = copy.deepcopy(model)
    twin.load_state_dict(moved)
    assert twin.lm.lm_head.weight is twin.lm.model.embed_tokens.weight
    torch.testing.assert_close(twin.lm.lm_head.weight, model.lm.lm_head.weight + 1)
    twin.load_state_dict({**moved, "lm.lm_head.weight": moved["lm.model.embed_tokens.weight"]})
    assert "lm.lm_head.weight" in tiny_lm.tiny_lm(tied=False).state_dict()


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_exported_is_loaded_by_transformers(tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = tiny_lm.tiny_lm(tied=tied)
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})
    files = model.export(tmp_path)
    assert {f.name for f in files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert model.export(tmp_path) == files  # again, over the first
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = torch.tensor(words(["what is 1+1="])["input_ids"])
    assert torch.equal(lm(ids).logits, model.lm(ids).logits)
    again = load_model(f"hf:{tmp_path}/model")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_random_weights_are_the_same_ones_every_time(tmp_path: Path) -> None:
    folder(tmp_path)
    one, two = (load_model(f"random:{tmp_path}").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm.model.norm.weight"], torch.zeros(32))


# -- reading texts -------------------------------------------------------------------------------------


def ids_of(model: CausalLM, prompt: Any, response: str) -> str:
    table = model.form.encode([prompt], [response])
    return model.form.tokenizer.decode(table.sample(0))


def test_prompts_go_into_the_chat_template_where_there_is_one() -> None:
    with_template, without = tiny_lm.tiny_lm(chat=True), tiny_lm.tiny_lm()
    assert ids_of(with_template, "1+1=", "2") == "<|user|>1+1=</s><|assistant|>2</s>"
    assert ids_of(without, "1+1=", "2") == "<s>1+1=2</s>"
    assert ids_of(tiny_lm.tiny_lm(TextOptions(chat=False), chat=True), "1+1=", "2") == "<s>1+1=2</s>"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    turns += [{"role": "user", "content": "c"}]
    expected = "<|user|>a</s><|assistant|>b</s><|user|>c</s><|assistant|>d</s>"
    assert ids_of(with_template, turns, "d") == expected
    table = with_template.form.encode(["1+1="], ["2"])
    assert table.sample(0)[int(table.response[0]) :].tolist() == with_template.form._ids(["2"])[0] + [2]
    assert with_template.form.prompt_ids("1+1=") == table.sample(0)[: int(table.response[0])].tolist()


def test_plain_text_is_units_from_its_first_token_and_gets_no_end() -> None:
    model = tiny_lm.tiny_lm(chat=True)
    table = model.form.encode([""], ["abc"])
    assert (table.sample(0).tolist(), int(table.units[0])) == ([1, 5, 6, 7], 3)


def test_a_tokenizer_without_padding_or_end_is_enough() -> None:
    model = CausalLM(llama(), tokenizer(padding=False))
    model(whole(prepared(model, copies())))
    assert model.answers(["1+1=", "what is 2+2="], 3) == tiny_lm.tiny_lm().answers(
        ["1+1=", "what is 2+2="], 3
    )
    lm = llama()
    lm.config.eos_token_id = lm.generation_config.eos_token_id = None
    endless = CausalLM(lm, tokenizer(end=False))
    samples = prepared(endless, copies())
    assert endless.form.ends == ()
    batch = whole(samples)
    forward = endless(batch)
    assert endless.correct(batch, forward).tolist() == [0.0] * len(samples)
    batch.targets = forward.targets = forward.logits.argmax(-1)
    assert endless.correct(batch, forward).tolist() == [1.0] * len(samples)


def said(model_options: TextOptions, data: TextData, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        model = tiny_lm.tiny_lm(model_options, **more)
        model.prepare(data, text_experience("texts", data, data, data), "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read_is_said_in_one_line() -> None:
    long = TextData(["a", "b" * 70], ["x", "y"])
    assert "sample 1 has 73 tokens and the limit is 64: shorten it" in said(TextOptions(), long)
    assert "limit is 20" in said(TextOptions(max_length=20), long)
    assert "the tokenizer has no chat template" in said(TextOptions(chat=True), long)
    messages = TextData(["a"], [[{"role": "user", "content": "x"}]])
    assert "need a chat template" in said(TextOptions(), messages)
    assert "experience 'texts', train: sample 1 has" in said(TextOptions(), long)
    rows = Origin("csv 'a.csv', test", [7, 9])
    long = TextData(["a", "b" * 70], ["x", "y"], origin=rows)
    assert "train: sample 1 (csv 'a.csv', test, row 9) has 73 tokens" in said(TextOptions(), long)
    messages = TextData(["a"], [[{"role": "user", "content": "x"}]], origin=rows)
    assert "sample 0 (csv 'a.csv', test, row 7): prompts given as messages" in said(TextOptions(), messages)
    choices = TextData(["a", "b"], ["x", "y"], [["a", "c"], ["b", "c" * 70]], origin=rows)
    with pytest.raises(UserError, match=r"sample 1 \(csv 'a.csv', test, row 9\) has"):
        prepared(tiny_lm.tiny_lm(), text_experience("c", None, choices, choices)).wrong_choices()


def test_truncation_takes_the_start_of_the_prompt_then_the_end_of_the_response() -> None:
    model = tiny_lm.tiny_lm(TextOptions(max_length=8, too_long="truncate"))
    assert ids_of(model, "abcdefghij", "xyz") == "ghijxyz</s>"
    assert ids_of(model, "ab", "0123456789") == "b0123456"
    assert ids_of(model, "", "0123456789") == "<s>0123456"


def test_images_and_classes_are_refused() -> None:
    from tiny import experience

    model, images = tiny_lm.tiny_lm(), experience("squares", 1)
    with pytest.raises(UserError, match="answers in text"):
        model.add_task(images)
    with pytest.raises(UserError, match="reads texts"):
        model.prepare(images.test, images, "test")
    with pytest.raises(UserError, match="is for images"):
        model.prepare(TASK.test, TASK, "train", "shift")


# -- answers -------------------------------------------------------------------------------------------


def greedy(model: CausalLM, prompt: list[int], limit: int) -> list[int]:
    """One prompt, no cache, no padding."""
    ids = list(prompt)
    for _ in range(limit):
        ids.append(int(model.lm(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    return ids[len(prompt) :]


PROMPTS = ["1+1=", "what is 4+4=", "copy hello:", "", "abcdefghijklmnop", "z"]


def test_batched_decoding_is_decoding_one_at_a_time() -> None:
    model = tiny_lm.tiny_lm()
    ids = [model.form.prompt_ids(prompt) for prompt in PROMPTS]
    for tokens, prompt in zip(_generate(model, ids, 9, model.form.ends), ids, strict=True):
        expected = greedy(model, prompt, 9)
        assert tokens[: len(expected)] == expected
    alone = [decode(model, model.form, [prompt], 9)[0] for prompt in PROMPTS]
    assert decode(model, model.form, PROMPTS, 9, together=4) == alone


def taught(model: CausalLM) -> CausalLM:
    """Knows some of the answers by heart."""
    samples = prepared(model, TASK, "test")
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        forward = model(samples.batch(torch.tensor([0, 2, 5])))
        forward.unit_losses().mean().backward()
        optimizer.step()
    return model.requires_grad_(False)


def test_exact_match_is_what_decoding_every_answer_would_say() -> None:
    model = taught(tiny_lm.tiny_lm())
    samples = prepared(model)
    batch = whole(samples)
    with torch.no_grad():
        found, said = model.correct_and_said(batch, model(batch))
    expected = []
    for prompt, response in zip(TASK.test.prompts, TASK.test.responses, strict=True):
        tokens = greedy(model, model.form.prompt_ids(prompt), 3)
        expected.append(float(tokens[-1] == 2 and model.form.tokenizer.decode(tokens[:-1]) == response))
    assert found.tolist() == expected
    assert sum(expected) >= 3
    assert said == model.answers(TASK.test.prompts, 3)


def is_long(prompt: str, answer: str, response: str) -> bool:
    return len(answer) >= 2


def test_a_judge_decides_instead_of_equality() -> None:
    from cl_forget.streams import Scoring

    data = TASK.test
    experience = text_experience("judged", None, data, data, Scoring(judge=is_long, max_new_tokens=4))
    model = taught(tiny_lm.tiny_lm())
    batch = whole(prepared(model, experience))
    with torch.no_grad():
        found = model.correct(batch, model(batch))
    assert found.tolist() == [float(len(text) >= 2) for text in model.answers(data.prompts, 4)]


def test_multiple_choice_takes_the_largest_log_likelihood_per_token() -> None:
    model = tiny_lm.tiny_lm()
    experience = odd_one()
    batch = whole(prepared(model, experience))
    found, said = model.correct_and_said(batch, model(batch))
    assert found.tolist() == model.correct(batch, model(batch)).tolist()
    data = experience.test
    for i, (prompt, choices) in enumerate(zip(data.prompts, data.choices, strict=True)):
        scores = {}
        for choice in choices:
            head, tail = model.form.prompt_ids(prompt), model.form._ids([choice])[0]
            log_p = model.lm(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
            scores[choice] = sum(float(log_p[len(head) - 1 + k, t]) for k, t in enumerate(tail)) / len(tail)
        assert bool(found[i]) == (max(scores, key=scores.__getitem__) == data.responses[i])
        assert said[i] == max(scores, key=scores.__getitem__)


# -- memory --------------------------------------------------------------------------------------------


def test_a_pass_over_a_data_set_stays_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_forget.models._texts.LOGITS_AT_ONCE", 54 * 6)
    monkeypatch.setattr("cl_forget.models._texts.TOKENS_AT_ONCE", 60)
    samples = prepared(tiny_lm.tiny_lm(), TASK, "train")
    batches = list(samples.batches(256))
    assert torch.equal(torch.cat([batch.indices for batch in batches]), torch.arange(len(samples)))
    assert len(batches) > 2
    for batch in batches:
        assert len(batch) == 1 or (len(batch.targets) <= 6 and batch.inputs.ids.numel() <= 60)

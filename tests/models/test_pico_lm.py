"""pico-lm: transformers loads it, it scores what its card says, and its recipe is reproducible."""

import copy
import dataclasses
import json
import math
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models.zoo import pico_lm
from cl_forget.models.zoo.pico_lm import data, evaluate, pretrain
from cl_forget.models.zoo.pico_lm.tokenizer import make_tokenizer, save_tokenizer
from cl_forget.streams import load_suite
from cl_forget.streams.skills.known import BY_NAME, SKILLS
from cl_forget.streams.skills.new import NEW_SKILLS


@pytest.fixture(scope="module")
def loaded():
    return evaluate.load()


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


# -- tokenizer and data ----------------------------------------------------------------------------------
def test_tokenizer_sees_letters_and_figures(tokenizer) -> None:
    assert tokenizer.tokenize("Reverse planet.") == ["Reverse", "Ġ", "p", "l", "a", "n", "e", "t", "."]
    assert tokenizer.tokenize("What is 47+38?") == ["What", "Ġis", "Ġ", "4", "7", "+", "3", "8", "?"]
    text = 'Zwölf Häuser, 日本 🍎\n{"answer": "85"}  two  spaces'
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_chat_template_is_the_form_of_pretraining(tokenizer) -> None:
    turns = [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<s>What is 2+2?\n4</s>"
    ((ids, question),) = data.encode(tokenizer, [("What is 2+2?", "4")])
    assert tokenizer(text, add_special_tokens=False).input_ids == ids
    assert tokenizer.decode(ids[:question]) == "<s>What is 2+2?\n"


def test_shipped_tokenizer_is_the_recipes(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (pico_lm.FOLDER / name).read_bytes()


def test_packed_loss_is_the_loss_of_documents_alone(tokenizer) -> None:
    """Against one document at a time, with transformers' own causal mask and positions."""
    trainer = pretrain._Trainer(dataclasses.replace(pretrain.QUICK, bfloat16=False), tokenizer)
    packed = data.batch(tokenizer, 3, 64, Random(5))
    total = weight = 0.0
    for row in range(3):
        for number in range(1, int(packed.document[row].max()) + 1):
            inside = packed.document[row] == number
            ids, weights = packed.tokens[row, inside], packed.weights[row, inside]
            logits = trainer.model(input_ids=ids[None]).logits[0, :-1]
            total += (cross_entropy(logits, ids[1:], reduction="none") * weights[1:]).sum().item()
            weight += weights[1:].sum().item()
    assert trainer.loss(packed).item() == pytest.approx(total / weight, abs=1e-5)


def test_training_reads_no_held_out_question(tokenizer) -> None:
    source = data.documents(Random(2))
    seen = {prompt for prompt, _ in (next(source) for _ in range(3000))}
    for name in ("roman", "calendar", "capitals", "plurals", "units"):
        for split in ("validation", "test"):
            assert not seen & {prompt for prompt, _ in BY_NAME[name].samples(split, 200)}, name


# -- the shipped model -----------------------------------------------------------------------------------
def test_it_is_a_plain_llama_of_at_most_ten_megabytes(loaded) -> None:
    model, tokenizer = loaded
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 2e6 <= sum(parameter.numel() for parameter in model.parameters()) <= 4e6
    assert len(tokenizer) == model.config.vocab_size
    assert sum(path.stat().st_size for path in pico_lm.FOLDER.iterdir() if path.is_file()) <= 10e6


def test_recipe_beside_the_weights_is_the_code_s() -> None:
    shipped = json.loads((pico_lm.FOLDER / "recipe.json").read_text())
    assert shipped == dataclasses.asdict(pretrain.Recipe())


@pytest.fixture(scope="module")
def scores(loaded) -> dict[str, float]:
    return evaluate.scores_of(*loaded, "test", 25)


def test_it_answers_as_its_card_says(scores: dict[str, float]) -> None:
    """On 25 test questions of each skill; the card has 200."""
    card = (pico_lm.FOLDER / "README.md").read_text()
    for name, score in scores.items():
        if name == "stories":
            stated = float(card.partition("| stories | perplexity ")[2].split()[0])
            assert score == pytest.approx(stated, rel=0.05)
        else:
            stated = float(card.partition(f"| {name} | ")[2].split()[0]) / 100
            assert score >= stated - 3 * math.sqrt(max(stated * (1 - stated), 0.02) / 25), name


def test_at_least_twelve_skills_and_nine_at_ninety_percent(scores: dict[str, float]) -> None:
    """With the allowance of the sample: two of 25 answers below."""
    assert sum(scores[skill.name] >= 0.82 for skill in SKILLS) >= 9 and len(SKILLS) >= 12


def test_cl_forget_s_own_evaluation_agrees(loaded) -> None:
    model = load_model("pico-lm")
    suite = load_suite({"skill": {"name": "roman", "held_out": 40}})
    samples = model.prepare(suite.test, suite, "test")
    right = torch.cat([model.correct(batch, model(batch)) for batch in samples.batches(64)])
    said = evaluate.answers(*loaded, suite.test.prompts)
    by_hand = [a == b for a, b in zip(said, suite.test.responses, strict=True)]
    assert right.bool().tolist() == by_hand


def test_it_never_met_the_new_skills(loaded) -> None:
    for skill in NEW_SKILLS.values():
        pairs = skill.samples("test", 20)
        said = evaluate.answers(*loaded, [prompt for prompt, _ in pairs])
        assert sum(text == answer for text, (_, answer) in zip(said, pairs, strict=True)) <= 4, skill.name


# -- the recipe ------------------------------------------------------------------------------------------
class _Killed(Exception):
    pass


def _kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = data.batch, 0

    def batch(*arguments):
        nonlocal drawn
        drawn += 1
        if drawn > step:
            raise _Killed
        return real(*arguments)

    monkeypatch.setattr(pretrain, "batch", batch)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps an epoch, and no scores, which a model this young has none of."""
    tiny = dataclasses.replace(pretrain.QUICK, steps_per_epoch=3, width=64, heads=2, inner=96)
    monkeypatch.setattr(pretrain, "QUICK", tiny)
    monkeypatch.setattr(evaluate, "scores_of", lambda *_: {})


def test_killed_and_resumed_run_gives_the_same_bits(quick, tmp_path: Path) -> None:
    pretrain.pretrain(tmp_path / "whole", quick=True, threads=1)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(_Killed):
        _kill_at(4, patched)
        pretrain.pretrain(tmp_path / "killed", quick=True, threads=1)
    pretrain.pretrain(tmp_path / "killed", quick=True, threads=1, resume=True)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.jsonl", "recipe.json", "tokenizer.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    first, last = (
        json.loads(line)["loss"] for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    )
    assert last < first
    model, _ = evaluate.load(tmp_path / "whole")  # the exported folder is complete
    exported = load_file(tmp_path / "whole" / "model.safetensors")
    assert torch.equal(model.model.norm.weight, exported["model.norm.weight"].float())


def test_length_may_change_until_the_rate_falls(quick, tmp_path: Path) -> None:
    pretrain.pretrain(tmp_path / "two", quick=True, threads=1)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(_Killed):
        _kill_at(4, patched)
        pretrain.pretrain(tmp_path / "four", quick=True, threads=1, epochs=4)
    pretrain.pretrain(tmp_path / "four", quick=True, threads=1, epochs=2, resume=True)
    name = "checkpoint.safetensors"
    assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()
    with pytest.raises(UserError, match="other settings"):  # the rate has fallen to zero by now
        pretrain.pretrain(tmp_path / "two", quick=True, threads=1, epochs=4, resume=True)


def test_a_step_with_sam_is_the_one_written_out(tokenizer) -> None:
    """The gradient at θ + ρ·g/‖g‖, applied at θ."""
    recipe = dataclasses.replace(pretrain.QUICK, bfloat16=False, steps_per_epoch=1, sam=0.1)
    ours, by_hand = (pretrain._Trainer(recipe, tokenizer) for _ in range(2))
    list(ours.run_epoch())
    packed = data.batch(tokenizer, recipe.rows, recipe.row_length, Random("pico-lm/0/0"))
    by_hand.model.train()
    parameters = list(by_hand.model.parameters())
    gradient = torch.autograd.grad(by_hand.loss(packed), parameters)
    norm = math.sqrt(sum(float(part.double().square().sum()) for part in gradient))
    away = copy.deepcopy(by_hand)
    with torch.no_grad():
        for parameter, part in zip(away.model.parameters(), gradient, strict=True):
            parameter += 0.1 / norm * part
    away.loss(packed).backward()
    for parameter, other in zip(parameters, away.model.parameters(), strict=True):
        parameter.grad = other.grad
    for optimizer in by_hand.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = by_hand._rate(0)
        optimizer.step()
    for (name, one), two in zip(ours.model.named_parameters(), parameters, strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_sam_trains_the_last_share_of_the_epochs(quick, tmp_path: Path) -> None:
    """At a radius that float32 does not see, both passes are the same, and the run is the plain one to the bit."""
    shared = {"quick": True, "threads": 1}
    pretrain.pretrain(tmp_path / "plain", **shared)
    pretrain.pretrain(tmp_path / "unseen", **shared, sam=1e-30)
    pretrain.pretrain(tmp_path / "late", **shared, sam=0.5, sam_share=0.5)
    plain, unseen, late = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("plain", "unseen", "late")
    )
    assert unseen == plain and late[0] == plain[0] and late[1] != plain[1]
    assert (tmp_path / "unseen/model.safetensors").read_bytes() == (
        tmp_path / "plain/model.safetensors"
    ).read_bytes()
    assert pretrain.Recipe(sam=0.1, sam_share=0.6).steady == pytest.approx(76 * 0.4)


def test_resuming_nothing_and_resuming_another_recipe_are_refused(quick, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        pretrain.pretrain(tmp_path, quick=True, resume=True)
    pretrain.pretrain(tmp_path, quick=True, threads=1)
    with pytest.raises(UserError, match="other settings"):
        pretrain.pretrain(tmp_path, quick=True, seed=7, resume=True)

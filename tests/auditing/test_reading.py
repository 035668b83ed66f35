"""Whose tokenizer reads the texts, where the tuned model has one of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import TEMPLATE, folder, tokenizer

import cl_forget
from cl_forget.auditing.pair import load_pair
from cl_forget.ground.errors import UserError
from cl_forget.models.options import TextOptions

OTHER = TEMPLATE + "{{ '!' }}"
"""Says something else of every conversation."""


def with_template(path: Path, template: str | None) -> Path:
    words = tokenizer()
    words.chat_template = template
    words.save_pretrained(path)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return folder(tmp_path / "base", tied=False)


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    return folder(tmp_path / "tuned", tied=False)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_same_model_with_its_tokens_in_another_order_is_refused(base: Path, tuned: Path) -> None:
    """Rows and ids are permuted together: the same function, which the base's tokenizer would not read."""
    told = json.loads((tuned / "tokenizer.json").read_text())
    vocab = told["model"]["vocab"]
    last = max(vocab.values())
    told["model"]["vocab"] = {
        token: number if number < 20 else 20 + last - number for token, number in vocab.items()
    }
    (tuned / "tokenizer.json").write_text(json.dumps(told))
    weights = load_file(tuned / "model.safetensors")
    order = torch.cat([torch.arange(20), torch.arange(last, 19, -1)])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][order].clone()
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"the vocabularies differ in \d+ tokens: id 20 is .* name the base"
    ) as said:
        load_pair(str(base), str(tuned))
    assert "\n" not in str(said.value)
    # A file of weights is read with the tokenizer beside it.
    with pytest.raises(UserError, match="the vocabularies differ"):
        load_pair(str(base), str(tuned / "model.safetensors"))


def test_models_that_read_alike_are_not_talked_about(base: Path, tuned: Path) -> None:
    with_template(base, TEMPLATE)
    with_template(tuned, TEMPLATE + "{# a remark #}")
    pair = load_pair(str(base), str(tuned))
    assert pair.reading is not None and (pair.reading.whose, pair.reading.said) == ("base", ())


@pytest.mark.parametrize("has", ["tuned", "base"])
def test_a_chat_template_that_only_one_has_is_used_and_said(base: Path, tuned: Path, has: str) -> None:
    owner = with_template(tuned if has == "tuned" else base, TEMPLATE)
    pair = load_pair(str(base), str(tuned), TextOptions(chat=True))
    assert pair.reading is not None and pair.reading.whose == has and pair.model.form.chat
    (said,) = pair.reading.said
    other = "base" if has == "tuned" else "tuned"
    assert f"Only {owner} has a chat template" in said and f"--tokenizer {other}" in said
    bare = load_pair(str(base), str(tuned), TextOptions(chat=False))
    assert bare.reading is not None and "messages alone" in bare.reading.said[0] and not bare.model.form.chat
    plain = load_pair(str(base), str(tuned), tokenizer=other)
    assert plain.reading is not None and not plain.model.form.chat
    assert "used for none, as asked" in plain.reading.said[0]


def test_templates_that_differ_are_chosen_among(base: Path, tuned: Path) -> None:
    with_template(base, TEMPLATE)
    with_template(tuned, OTHER)
    with pytest.raises(UserError, match=r"chat templates .* differ.*--tokenizer base or --tokenizer tuned"):
        load_pair(str(base), str(tuned))
    for whose, template in (("base", TEMPLATE), ("tuned", OTHER)):
        pair = load_pair(str(base), str(tuned), tokenizer=whose)
        assert pair.model.tokenizer.chat_template == template
        assert pair.reading is not None and "as asked" in pair.reading.said[0]
    with pytest.raises(UserError, match="write base or tuned"):
        load_pair(str(base), str(tuned), tokenizer="mine")
    with pytest.raises(UserError, match="is for language models"):
        load_pair("emoji-clip", "emoji-clip", tokenizer="base")


def test_texts_that_are_cut_otherwise_are_chosen_among(base: Path, tuned: Path) -> None:
    """The same tokens by the same ids, and no start token before a text."""
    edit_json(tuned / "tokenizer.json", post_processor=None)
    with pytest.raises(UserError, match="cut texts otherwise"):
        load_pair(str(base), str(tuned))
    assert load_pair(str(base), str(tuned), tokenizer="tuned").model.form._before == []


def test_special_and_added_tokens_are_said(base: Path, tuned: Path) -> None:
    words = tokenizer()
    words.pad_token = "</s>"
    words.save_pretrained(tuned)
    pair = load_pair(str(base), str(tuned))
    assert pair.reading is not None
    (said,) = pair.reading.said
    assert "pad_token is '<pad>' and '</s>'" in said and "those of" in said
    more = tokenizer()
    more.add_tokens(["<tool>"])
    more.save_pretrained(tuned)
    pair = load_pair(str(base), str(tuned))
    assert pair.reading is not None and "'<tool>'" in pair.reading.said[0]
    pair = load_pair(str(base), str(tuned), tokenizer="tuned")
    assert pair.reading is not None and pair.reading.said == ()


def test_an_audit_says_how_it_read_and_reads_a_whole_sequence_alike(
    base: Path, tuned: Path, tmp_path: Path
) -> None:
    early = folder(tmp_path / "early", tied=False)
    with_template(tuned, TEMPLATE)
    found = cl_forget.audit(
        str(base), [str(early), str(tuned)], suites=["letters-copied"], by_part=False, limit=4,
        output=tmp_path / "out", control=str(early), fail_if="generality < -99 points",
    )  # fmt: skip
    assert "has a chat template" in found.reading[0]
    assert found.reading[1] == f"{early} has a tokenizer that reads otherwise; it is not used."
    assert "has a chat template" in (tmp_path / "out" / "report.html").read_text()
    # The three models have the same weights, and are measured on the same tokens.
    assert {one.changes["generality"].change for one in found.history} == {0.0}

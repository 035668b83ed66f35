"""A base and a tuned model whose files call the same tensors otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import MIXTURES, SHAPE, folder, mixture, tokenizer
from torch import Tensor

import cl_forget.models
from cl_forget.auditing.pair import load_pair
from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.weights.merge import distances

Tensors = dict[str, Tensor]


def saved(model: Any, path: Path) -> Path:
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def rewrite(path: Path, change: Callable[[Tensors], Tensors]) -> None:
    (file,) = path.glob("*.safetensors")
    tensors = change(load_file(file))
    save_file({n: t.clone().contiguous() for n, t in tensors.items()}, file, {"format": "pt"})


def tuned_copy(path: Path, target: Path) -> Path:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return saved(model, target)


def compared(base: Path, tuned: Path, tmp_path: Path) -> None:
    """The pair loads, every parameter has moved by 0.01, and half the way is written so that it loads."""
    pair = load_pair(str(base), str(tuned))
    moved = distances(pair.base.source, pair.tuned.source, lambda _: ())["all"]
    numbers = sum(p.numel() for p in pair.model.parameters())
    assert moved.parameters == numbers and moved.distance == pytest.approx(0.01 * numbers**0.5, rel=1e-3)
    pair.load()
    assert len(pair.moved_names()) == len(list(pair.model.named_parameters()))
    before = load_model(f"hf:{base}").state_dict()
    pair.write(lambda _: 0.5, tmp_path / "half")
    half = load_model(f"hf:{tmp_path / 'half'}").state_dict()
    for name, tensor in before.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(half[name], tensor + 0.005, atol=1e-5, rtol=0)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=54, n_embd=32, n_head=4, n_layer=2, n_positions=64, bos_token_id=1, eos_token_id=2
        )
    )


def hub_names(tensors: Tensors) -> Tensors:
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64) for i in (0, 1)}
    return {n.removeprefix("transformer."): t for n, t in tensors.items()} | masks


@pytest.mark.parametrize("side", ["base", "tuned", "both"])
def test_gpt2_with_the_hubs_names(tmp_path: Path, side: str) -> None:
    base = saved(gpt2(), tmp_path / "base")
    tuned = tuned_copy(base, tmp_path / "tuned")
    for path in (base, tuned):
        if side in (path.name, "both"):
            rewrite(path, hub_names)
    compared(base, tuned, tmp_path)


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_an_old_llama_and_a_compiled_one(tmp_path: Path, side: str) -> None:
    base = folder(tmp_path / "base", tied=False)
    tuned = tuned_copy(base, tmp_path / "tuned")
    inverse = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in (0, 1)}
    rewrite(tmp_path / side, lambda t: {**t, **inverse})
    other = tuned if side == "base" else base
    rewrite(other, lambda t: {f"_orig_mod.{n}": x for n, x in t.items()})
    compared(base, tuned, tmp_path)


@pytest.mark.parametrize("kind", MIXTURES)
def test_mixtures_of_experts(tmp_path: Path, kind: str) -> None:
    base = saved(mixture(kind), tmp_path / "base")
    compared(base, tuned_copy(base, tmp_path / "tuned"), tmp_path)


def test_multimodal_gemma(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, Gemma3Config

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**SHAPE, "head_dim": 8}, vision_config={**vision, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4, image_token_index=53, boi_token_index=51, eoi_token_index=52,
    )  # fmt: skip
    torch.manual_seed(0)
    base = saved(AutoModelForCausalLM.from_config(config), tmp_path / "base")
    compared(base, tuned_copy(base, tmp_path / "tuned"), tmp_path)


def test_a_head_of_its_own(tmp_path: Path) -> None:
    """The base ties its head to its embedding, and the tuned model no longer does."""
    from transformers import AutoModelForCausalLM

    base = folder(tmp_path / "base")
    tuned = tuned_copy(base, tmp_path / "tuned")
    head = torch.randn(54, 32)
    rewrite(tuned, lambda t: {**t, "lm_head.weight": head})
    assert torch.equal(load_model(f"hf:{tuned}").lm.lm_head.weight, head)
    pair = load_pair(str(base), str(tuned))
    pair.load()
    pair.place(lambda _: 1.0)
    lm = pair.model.lm
    assert torch.equal(lm.lm_head.weight, head) and not torch.equal(lm.model.embed_tokens.weight, head)
    assert "lm_head.weight" in pair.moved_names()
    pair.write(lambda _: 1.0, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "out").lm_head.weight, head)


def test_a_tuned_model_without_its_head_is_refused(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", tied=False)
    tuned = tuned_copy(base, tmp_path / "tuned")
    rewrite(tuned, lambda t: {n: x for n, x in t.items() if n != "lm_head.weight"})
    with pytest.raises(UserError, match="lacks 1 tensors"):
        load_pair(str(base), str(tuned))


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_cure_for_added_tokens_helps(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = folder(tmp_path / "base", tied=False)
    grown = AutoModelForCausalLM.from_pretrained(base)
    grown.resize_token_embeddings(57, mean_resizing=False)
    saved_whole = ["embed_tokens", "lm_head"]
    options = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=saved_whole)
    get_peft_model(grown, options).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"vocabularies differ.*resize_token_embeddings\(57\)"):
        load_pair(str(base), str(tmp_path / "adapter"))
    same = AutoModelForCausalLM.from_pretrained(base)
    same.resize_token_embeddings(57, mean_resizing=False)
    pair = load_pair(str(saved(same, tmp_path / "same")), str(tmp_path / "adapter"))
    pair.load()
    assert "lm_head.weight" in pair.moved_names()


# -- configurations ------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_of_another_base_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = folder(tmp_path / "base", tied=False)
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"])
    ).save_pretrained(tmp_path / "adapter")
    reconfigured(tmp_path / "adapter", "adapter_config.json", base_model_name_or_path="hub/Base")
    load_pair(str(base), str(tmp_path / "adapter"))
    assert not caplog.records
    reconfigured(tmp_path / "adapter", "adapter_config.json", base_model_name_or_path="hub/base-chat")
    load_pair(str(base), str(tmp_path / "adapter"))
    assert "was trained on 'hub/base-chat'" in caplog.text


def reconfigured(path: Path, file: str, **changes: Any) -> Path:
    config = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**config, **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rms_norm_eps": 0.1}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}, "head"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_parameters"),
        ({"rope_theta": 5e5, "rope_parameters": None}, "rope_parameters"),
    ],
)
def test_a_tuned_model_that_reads_its_weights_otherwise(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    base = folder(tmp_path / "base", tied=False)
    tuned = reconfigured(tuned_copy(base, tmp_path / "tuned"), "config.json", **changes)
    with pytest.raises(UserError, match=f"configured otherwise than .*{field}"):
        load_pair(str(base), str(tuned))


def test_what_changes_nothing_of_the_function_passes(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", tied=False)
    tuned = tuned_copy(base, tmp_path / "tuned")
    reconfigured(
        tuned, "config.json", use_cache=False, attention_dropout=0.1, transformers_version="4.0", pad_token_id=3,
        max_position_embeddings=128, torch_dtype="float16", unsloth_version="2025", architectures=["Mine"],
    )  # fmt: skip
    load_pair(str(base), str(tuned))


def test_a_clip_model_with_other_image_statistics_or_activation(tmp_path: Path) -> None:
    zoo = Path(cl_forget.models.__file__).parent / "zoo" / "emoji_clip"
    tuned = tmp_path / "tuned"
    shutil.copytree(zoo, tuned)
    load_pair("emoji-clip", str(tuned))
    config = json.loads((tuned / "open_clip_config.json").read_text())
    other = {**config["preprocess_cfg"], "mean": [0.0, 0.0, 0.0]}
    reconfigured(tuned, "open_clip_config.json", preprocess_cfg=other)
    with pytest.raises(UserError, match=r"preprocess_cfg\.mean"):
        load_pair("emoji-clip", str(tuned))
    quick = {**config["model_cfg"], "quick_gelu": True}
    reconfigured(tuned, "open_clip_config.json", preprocess_cfg=config["preprocess_cfg"], model_cfg=quick)
    with pytest.raises(UserError, match="quick_gelu is True and not False"):
        load_pair("emoji-clip", str(tuned))

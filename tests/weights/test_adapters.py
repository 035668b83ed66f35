"""LoRA adapters of every kind that peft writes: its own merge to 1e-6, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import folder

from cl_forget.ground.errors import UserError
from cl_forget.weights.checkpoint import open_checkpoint
from cl_forget.weights.merge import check_pair, merge

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:.*is_gradient_checkpointing:FutureWarning"
    ),  # peft with transformers 5
    pytest.mark.filterwarnings("ignore::UserWarning:peft.*"),  # it says that embeddings are tied
]


def adapter(base: Path, path: Path, **options: Any) -> dict[str, torch.Tensor]:
    """A trained adapter on disk; returns what peft merges when it loads it on the base."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), path)
    return again.merge_and_unload().state_dict()


def edit(path: Path, **changes: Any) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(path: Path, base: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_checkpoint(path, open_checkpoint(base).source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


RIGHT: dict[str, dict[str, Any]] = {
    "PiSSA": {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa", "target_modules": ["q_proj", "down_proj"]},
    "PiSSA, rank-stabilised": {
        "r": 4, "lora_alpha": 3, "use_rslora": True, "init_lora_weights": "pissa", "target_modules": "all-linear",
    },
    "OLoRA": {"r": 4, "lora_alpha": 8, "init_lora_weights": "olora", "target_modules": ["q_proj", "down_proj"]},
    "Gaussian": {"r": 4, "lora_alpha": 8, "init_lora_weights": "gaussian", "target_modules": ["v_proj"]},
    "orthogonal": {"r": 4, "lora_alpha": 8, "init_lora_weights": "orthogonal", "target_modules": ["v_proj"]},
    "patterns": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 5}, "use_rslora": True,
    },
    "saved whole": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_the_merge_is_pefts(tmp_path: Path, kind: str) -> None:
    base = folder(tmp_path / "base", tied=False)
    expected = adapter(base, tmp_path / "adapter", **RIGHT[kind])
    before = open_checkpoint(base)
    tuned = open_checkpoint(tmp_path / "adapter", before.source)
    for name in before.source.infos:
        torch.testing.assert_close(tuned.source.load(name), expected[name], atol=1e-6, rtol=0)
    merge(before.source, tuned, lambda _: 1.0, tmp_path / "merged", into=before)
    written = load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in written.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)


def test_gpt2_keeps_its_maps_the_other_way_round(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(
        vocab_size=54, n_embd=32, n_head=4, n_layer=2, n_positions=64, tie_word_embeddings=False
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    for kind in (True, "pissa"):
        options = {"target_modules": ["c_attn"], "fan_in_fan_out": True, "init_lora_weights": kind}
        expected = adapter(tmp_path / "base", tmp_path / str(kind), r=2, lora_alpha=4, **options)
        tuned = open_checkpoint(tmp_path / str(kind), open_checkpoint(tmp_path / "base").source)
        name = "transformer.h.0.attn.c_attn.weight"
        torch.testing.assert_close(tuned.source.load(name), expected[name], atol=1e-6, rtol=0)


def test_what_cannot_be_scaled_is_written_merged_only(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", tied=False)
    adapter(base, tmp_path / "adapter", **RIGHT["PiSSA"])
    source = open_checkpoint(base).source
    with pytest.raises(UserError, match="--merge-adapter"):
        merge(source, open_checkpoint(tmp_path / "adapter", source), lambda _: 0.5, tmp_path / "out")


def test_other_methods_are_refused(tmp_path: Path) -> None:
    base, path = folder(tmp_path / "base", tied=False), tmp_path / "adapter"
    adapter(base, path, r=2, lora_alpha=4, target_modules=["q_proj"])
    good = json.loads((path / "adapter_config.json").read_text())
    for change in (
        {"use_dora": True}, {"lora_bias": True}, {"target_parameters": ["x"]}, {"something_new": True},
        {"init_lora_weights": "pissa_niter_4"}, {"init_lora_weights": "corda"}, {"init_lora_weights": "loftq"},
        {"init_lora_weights": "new"},
    ):  # fmt: skip
        edit(path, **{**good, **change})
        assert "merge_and_unload" in refused(path, base), change
        (path / "adapter_config.json").write_text(json.dumps(good))


def test_adapters_that_are_not_whole(tmp_path: Path) -> None:
    base, path = folder(tmp_path / "base", tied=False), tmp_path / "adapter"
    adapter(base, path, r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    file = path / "adapter_model.safetensors"
    good = load_file(file)
    for kind, other in (("lora_A", "lora_B"), ("lora_B", "lora_A")):
        for gone in ([n for n in good if kind in n], [next(n for n in good if kind in n)]):
            save_file({n: t for n, t in good.items() if n not in gone}, file)
            assert "lacks" in refused(path, base) and kind in refused(path, base), other
    name = next(n for n in good if "lora_B" in n)
    save_file({**good, name: torch.ones(3, 2)}, file)
    assert "of shape (3, 32)" in refused(path, base)
    save_file(good, file)
    edit(path, r=3)
    assert "not of the rank 3" in refused(path, base)
    edit(path, r=None)
    assert "no adapter's configuration" in refused(path, base)


def test_a_tied_base(tmp_path: Path) -> None:
    base = folder(tmp_path / "base")
    targets: list[dict[str, Any]] = [
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ]
    for number, target in enumerate(targets):
        path = tmp_path / str(number)
        adapter(base, path, r=2, lora_alpha=4, **target)
        assert "the base's head as well" in refused(path, base)


def test_attention_of_open_clip(tmp_path: Path) -> None:
    """peft wraps `nn.MultiheadAttention` and, in it, the projection, to which it adds twice."""
    import tiny
    from peft import LoraConfig, get_peft_model

    clip = tiny.tiny_clip().clip
    save_file(
        {n: t.clone().contiguous() for n, t in clip.state_dict().items()}, tmp_path / "base.safetensors"
    )
    names = [f"visual.transformer.resblocks.{i}.attn" for i in (0, 1)]
    model = get_peft_model(clip, LoraConfig(r=2, lora_alpha=4, target_modules=names)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "adapter")
    base = open_checkpoint(tmp_path / "base.safetensors").source
    tuned = open_checkpoint(tmp_path / "adapter", base).source
    check_pair(base, tuned)
    assert len(tuned.pairs) == 4
    again, images = tiny.tiny_clip().clip.eval(), torch.randn(2, 3, tiny.SIDE, tiny.SIDE)
    with torch.no_grad():
        plain = again.visual(images)
        again.load_state_dict({name: tuned.load(name) for name in tuned.infos})
        expected = model.base_model.model.visual(images)
        torch.testing.assert_close(again.visual(images), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(plain, expected, atol=1e-2)
    merged = model.merge_and_unload().state_dict()
    for name in merged:
        torch.testing.assert_close(tuned.load(name), merged[name], atol=1e-6, rtol=0)

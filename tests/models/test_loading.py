"""Loading reports: a model is loaded whole, from whatever was wrapped around it, or refused in one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import folder, llama, tokenizer
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models._answers import _generate
from cl_forget.models.sources import _architecture_and_weights
from cl_forget.streams.text import TextData
from cl_forget.weights.checkpoint import open_checkpoint
from cl_forget.weights.keys import fit, tensors_of, unmarked

Tensors = dict[str, Tensor]


def said(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def prefixed(prefix: str) -> Callable[[Tensors], Any]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


WRAPPERS: dict[str, Callable[[Tensors], Any]] = {
    "plain": lambda t: t,
    "compiled": prefixed("_orig_mod."),
    "parallel": prefixed("module."),
    "both": prefixed("module._orig_mod."),
    "twice": prefixed("module.module."),
    "Lightning": prefixed("model."),
    "Lightning, named": prefixed("net."),
    "peft": prefixed("base_model.model."),
    "sharded": prefixed("_fsdp_wrapped_module."),
}
NESTS: dict[str, Callable[[Tensors], Any]] = {
    "state_dict": lambda t: {"state_dict": t, "epoch": 3},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "model": lambda t: {"model": t, "ema": {n: 2 * x for n, x in t.items()}},
    "ema": lambda t: {"ema": t, "step": 1},
    "nested": lambda t: {"state_dict": {"model": prefixed("module._orig_mod.")(t)}},
    "Lightning": lambda t: {"state_dict": prefixed("model.")(t), "lr_schedulers": [], "global_step": 4},
    "with numbers": lambda t: {**t, "epoch": 3},
}  # fmt: skip


def rewrite(path: Path, change: Callable[[Tensors], Any]) -> Tensors:
    """Change what a folder's safetensors file holds; returns what it held."""
    (file,) = path.glob("*.safetensors")
    tensors = load_file(file)
    save_file(change(dict(tensors)), file, {"format": "pt"})
    return tensors


def pickled(path: Path, name: str, change: Callable[[Tensors], Any]) -> Tensors:
    (file,) = path.glob("*.safetensors")
    tensors = load_file(file)
    file.unlink()
    torch.save(change(dict(tensors)), path / name)
    return tensors


def tiny_open_clip(path: Path) -> Path:
    """A folder in open_clip's own format."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(3)
    clip = open_clip.CLIP(**config)
    save_file({n: t.contiguous() for n, t in clip.state_dict().items()}, path / "open_clip_model.safetensors")
    return path


def same(model: Any, tensors: Tensors) -> None:
    state = model.state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(state[name], tensor), name


# -- language models -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("tied", [True, False])
def test_wrapped_language_models_are_the_model(tmp_path: Path, wrapper: str, tied: bool) -> None:
    tensors = rewrite(folder(tmp_path, tied=tied), WRAPPERS[wrapper])
    same(load_model(f"hf:{tmp_path}").lm, tensors)


@pytest.mark.parametrize("nest", NESTS)
def test_nested_language_models_are_the_model(tmp_path: Path, nest: str) -> None:
    tensors = pickled(folder(tmp_path, tied=False), "pytorch_model.bin", NESTS[nest])
    model = load_model(f"hf:{tmp_path}")
    same(model.lm, tensors)
    assert model.form.tokenizer.eos_token == "</s>"


def test_shards_of_the_older_format(tmp_path: Path) -> None:
    tensors = load_file(folder(tmp_path, tied=False) / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, part in halves.items():
        torch.save({n: tensors[n] for n in part}, tmp_path / file)
    index = {"weight_map": {n: file for file, part in halves.items() for n in part}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    same(load_model(f"hf:{tmp_path}").lm, tensors)


GPT2 = {"vocab_size": 54, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "pad_token_id": 0}


def gpt2(path: Path) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**GPT2, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return model


def hub_names(tensors: Tensors) -> Tensors:
    """GPT-2 as the hub has it: no `transformer.`, and the masks of every block."""
    mask = torch.ones(1, 1, 64, 64)
    masks = {"bias": mask, "masked_bias": mask[0, 0, 0, 0]}
    return {n.removeprefix("transformer."): t for n, t in tensors.items()} | {
        f"h.{i}.attn.{name}": value.clone() for i in (0, 1) for name, value in masks.items()
    }


def test_what_older_versions_saved_beside_the_weights_is_no_fault(tmp_path: Path) -> None:
    gpt2(tmp_path / "gpt2")
    tensors = rewrite(tmp_path / "gpt2", hub_names)
    same(load_model(f"hf:{tmp_path / 'gpt2'}").lm, tensors)
    inverse = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in (0, 1)}
    tensors = rewrite(
        folder(tmp_path / "llama"), lambda t: {**t, **{n: x.clone() for n, x in inverse.items()}}
    )
    same(load_model(f"hf:{tmp_path / 'llama'}").lm, tensors)


def test_language_models_that_are_not_whole(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    good = load_file(path / "model.safetensors")
    mlp = [n for n in good if n.startswith("model.layers.1.mlp")]

    def refuses(change: Callable[[Tensors], Tensors], *parts: str) -> None:
        save_file(change(dict(good)), path / "model.safetensors", {"format": "pt"})
        message = said(f"hf:{path}")
        assert all(part in message for part in parts), message

    refuses(
        lambda t: {n: x for n, x in t.items() if n not in mlp}, "missing: 3", "model.layers.1.mlp.down_proj"
    )
    refuses(lambda t: {**t, "projector.weight": torch.ones(2)}, "foreign: 1 (projector.weight)")
    refuses(lambda t: {n: x for n, x in t.items() if n != "lm_head.weight"}, "missing: 1 (lm_head.weight)")
    refuses(lambda t: {**t, mlp[0]: torch.ones(3, 3)}, mlp[0])
    lora = {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 32)}
    refuses(lambda t: {**t, **lora}, "merge the adapter first")
    refuses(lambda t: {}, "weights beside", "are empty")
    refuses(lambda t: {n: torch.zeros(0) for n in t}, "weights beside", "gathered first")


@pytest.mark.parametrize("tied", [True, False])
def test_a_classifier_is_no_language_model(tmp_path: Path, tied: bool) -> None:
    from transformers import LlamaForSequenceClassification

    LlamaForSequenceClassification(llama(tied=tied).config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert "score.weight" in said(f"hf:{tmp_path}")


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "t5", "bart"])
def test_models_that_see_what_comes_after_are_refused(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    shape = {"vocab_size": 54, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    shape |= {
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "embedding_size": 32,
    }
    seq2seq = {
        "t5": {"vocab_size": 54, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
        "bart": {"vocab_size": 54, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                 "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
                 "decoder_ffn_dim": 48, "max_position_embeddings": 64},
    }  # fmt: skip
    config = AutoConfig.for_model(kind, **seq2seq.get(kind, shape))
    auto = AutoModelForSeq2SeqLM if kind in seq2seq else AutoModelForMaskedLM
    auto.from_config(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert "sees a whole text at once" in said(f"hf:{tmp_path}")


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", ask)
    path = folder(tmp_path / "model")
    ran = tmp_path / "ran"
    (path / "configuration_own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\nfrom transformers import LlamaConfig\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    config = json.loads((path / "config.json").read_text())
    auto = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "configuration_own.OwnModel"}
    (path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto}))
    for source in ("hf", "random"):
        assert "CL_FORGET_TRUST_REMOTE_CODE=1" in said(f"{source}:{path}")
    assert not ran.exists()
    monkeypatch.setenv("CL_FORGET_TRUST_REMOTE_CODE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    said(f"hf:{path}")  # it brings no such model, but its configuration was run
    assert ran.exists()


# -- CLIP ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_clip_models_are_the_model(tmp_path: Path, wrapper: str) -> None:
    tensors = rewrite(tiny_open_clip(tmp_path / "clip"), WRAPPERS[wrapper])
    same(load_model(f"open_clip:local-dir:{tmp_path / 'clip'}").clip, tensors)


@pytest.mark.parametrize("nest", NESTS)
def test_nested_clip_models_are_the_model(tmp_path: Path, nest: str) -> None:
    tensors = pickled(tiny_open_clip(tmp_path / "clip"), "open_clip_pytorch_model.bin", NESTS[nest])
    same(load_model(f"open_clip:local-dir:{tmp_path / 'clip'}").clip, tensors)


def test_clip_models_that_are_not_whole(tmp_path: Path) -> None:
    path = tiny_open_clip(tmp_path / "clip")
    file, spec = path / "open_clip_model.safetensors", f"open_clip:local-dir:{path}"
    good = load_file(file)
    for change, part in (
        ({"visual.extra": torch.ones(2)}, "foreign: 1 (visual.extra)"),
        (
            {"visual.positional_embedding": torch.ones(10, 32)},
            "another shape: 1 (visual.positional_embedding)",
        ),
    ):
        save_file({**good, **change}, file)
        assert part in said(spec)
    save_file({n: t for n, t in good.items() if "resblocks.1.mlp" not in n}, file)
    assert "missing: 4" in said(spec)
    file.unlink()
    assert "holds no weights" in said(spec)


# -- names ---------------------------------------------------------------------------------------------------
def test_names_without_marks() -> None:
    assert unmarked("module._orig_mod.visual.proj") == "visual.proj"
    assert unmarked("model._orig_mod.layers.0._checkpoint_wrapped_module.w") == "model.layers.0.w"
    assert unmarked("blocks.0.submodule.w") == "blocks.0.submodule.w"


def test_two_tensors_never_become_one() -> None:
    found = fit(["a.w", "module.a.w", "model.a.w"], {"a.w"})
    assert len(set(found.values())) == 3 and found["a.w"] == "a.w"


def test_what_holds_no_weights() -> None:
    assert tensors_of([1, 2]) is None
    assert tensors_of({"model": 3, "epoch": 4}) is None
    assert tensors_of({}) == {}


# -- what loads without a complaint and is another model --------------------------------------------------------
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    def diverged(tensors: Tensors) -> Tensors:
        return {n: torch.full_like(t, value) if "layers.1.mlp.up" in n else t for n, t in tensors.items()}

    rewrite(folder(tmp_path / "lm", tied=False), diverged)
    assert "not finite (1 tensors" in said(f"hf:{tmp_path / 'lm'}")
    clip = tiny_open_clip(tmp_path / "clip")
    rewrite(clip, lambda tensors: {**tensors, "visual.proj": tensors["visual.proj"] * value})
    assert "'visual.proj'" in said(f"open_clip:local-dir:{clip}")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    def rounded(tensors: Tensors) -> Tensors:
        return {n: (100 * t).to(torch.int8) if t.ndim == 2 else t for n, t in tensors.items()}

    rewrite(folder(tmp_path / "lm", tied=False), rounded)
    assert "is quantised: 16 weights" in said(f"hf:{tmp_path / 'lm'}")
    clip = tiny_open_clip(tmp_path / "clip")
    rewrite(clip, rounded)
    assert "is quantised" in said(f"open_clip:local-dir:{clip}")


def test_a_quantised_model_whose_library_is_missing(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (path / "config.json").write_text(json.dumps(config))
    assert "is quantised" in said(f"hf:{path}")


@pytest.mark.parametrize("single", ["model.safetensors", "pytorch_model.bin"])
def test_two_models_in_one_folder(tmp_path: Path, single: str) -> None:
    path = folder(tmp_path, tied=False)
    tensors = load_file(path / "model.safetensors")
    doubled = {name: 2 * tensor for name, tensor in tensors.items()}
    if single.endswith(".bin"):
        (path / "model.safetensors").unlink()
        torch.save(tensors, path / single)
        torch.save(doubled, path / "shard.bin")
    else:
        save_file(doubled, path / "shard.safetensors", {"format": "pt"})
    shard = f"shard.{single.rpartition('.')[2]}"
    (path / f"{single}.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(tensors, shard)}))
    assert "holds two models" in said(f"hf:{path}")
    # An index that leads to the single file itself is no second model.
    (path / f"{single}.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(tensors, single)}))
    same(load_model(f"hf:{path}").lm, tensors)


def test_the_library_s_own_order_of_formats(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    tensors = load_file(path / "model.safetensors")
    torch.save({name: 2 * tensor for name, tensor in tensors.items()}, path / "old.bin")
    (path / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(tensors, "old.bin")})
    )
    assert list(open_checkpoint(path).files) == ["model.safetensors"]
    clip = tiny_open_clip(tmp_path / "clip")
    save_file(
        tensors, clip / "model.safetensors", {"format": "pt"}
    )  # transformers' form of it, as hubs keep it
    assert list(open_checkpoint(clip).files) == ["open_clip_model.safetensors"]
    load_model(f"open_clip:local-dir:{clip}")


def test_a_pointer_in_place_of_the_weights(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    (path / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"
    )
    assert "git lfs pull" in said(f"hf:{path}")


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("ViT-B-32/openai", True),
        ("ViT-B-32/metaclip_400m", True),
        ("ViT-B-32/laion2b_e16", False),
        ("RN50/openai", True),
    ],
)
def test_weights_get_the_activation_they_were_trained_with(
    spec: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    asked: list[Any] = []

    def create(name: str, **options: Any) -> Any:
        asked.append(options)
        raise RuntimeError("nothing is downloaded here")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    monkeypatch.setattr("cl_forget.models.sources.hub_offline_if_unreachable", contextlib.nullcontext)
    said(f"open_clip:{spec}")
    assert asked[0]["force_quick_gelu"] is wanted


def test_a_file_that_may_want_another_activation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.pt")
    _architecture_and_weights(f"ViT-B-32-quickgelu/{tmp_path}/weights.pt")
    _architecture_and_weights(f"ViT-SO400M-14-SigLIP/{tmp_path}/weights.pt")
    assert not caplog.records
    _architecture_and_weights(f"ViT-B-32/{tmp_path}/weights.pt")
    assert "need open_clip:ViT-B-32-quickgelu/" in caplog.text


def test_a_models_own_settings_do_not_bend_greedy_answers(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    prompts = [[5, 6, 7, 8], [9, 10, 11]]
    plain = _generate(load_model(f"hf:{path}"), prompts, 8, (2,))
    settings = {
        "repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "num_beams": 4, "min_new_tokens": 7, "max_length": 3,
        "suppress_tokens": sorted({token for own in plain for token in own}), "stop_strings": ["a"],
    }  # fmt: skip
    (path / "generation_config.json").write_text(json.dumps(settings))
    model = load_model(f"hf:{path}")
    assert _generate(model, prompts, 8, (2,)) == plain
    assert model.lm.generation_config.repetition_penalty == 5.0, "what is exported keeps them"


def test_a_tokenizer_with_more_tokens_than_the_model(tmp_path: Path) -> None:
    path = folder(tmp_path, tied=False)
    words = tokenizer()
    words.add_tokens(["<extra>"])
    words.save_pretrained(path)
    model = load_model(f"hf:{path}")
    data = TextData(["a", "b"], ["1", "2 <extra>"])
    with pytest.raises(UserError, match=r"makes the token '<extra>' .*resize_token_embeddings"):
        model.form.table(data)
    model.form.table(TextData(["a", "b"], ["1", "2"]))

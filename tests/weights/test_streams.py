"""Weight files as streams: reading, mixing and writing, against torch, safetensors, transformers, open_clip, peft."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lm import folder, llama
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.lines import LiNeS
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.models import load_model, weights_of
from cl_forget.weights.checkpoint import open_checkpoint
from cl_forget.weights.interpolation import interpolate, interpolate_all
from cl_forget.weights.layout import Layout, kind_of
from cl_forget.weights.merge import check_pair, distances, merge
from cl_forget.weights.reading import SafetensorsFile, TensorInfo
from cl_forget.weights.writing import write_safetensors

pytestmark = [  # of peft
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]


def same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert tensor.dtype == two[name].dtype, name
        assert torch.equal(_bytes(tensor), _bytes(two[name])), name


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def moved(tensors: dict[str, Tensor], seed: int = 1, by: float = 0.05) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (t.float() + by * torch.randn(t.shape, generator=generator)).to(t.dtype)
        if t.is_floating_point()
        else t
        for name, t in tensors.items()
    }


def pair_of_files(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    base = {
        "a": torch.tensor([[-0.0, 1.0], [2.0, -3.0]]).to(dtype),
        "b": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype),
        "count": torch.tensor(4),
        "empty": torch.zeros(0, 2, dtype=dtype),
        "scalar": torch.tensor(2.5, dtype=dtype),
    }
    save_file(base, path / "base.safetensors", {"format": "pt"})
    save_file({**moved(base), "count": torch.tensor(9)}, path / "tuned.safetensors", {"format": "pt"})
    return path / "base.safetensors", path / "tuned.safetensors"


def mixed(base: Path, tuned: Path, share: Any, output: Path) -> dict[str, Tensor]:
    before = open_checkpoint(base).source
    merge(before, open_checkpoint(tuned, before), share, output)
    files = sorted(output.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_mixing_is_torch_lerp_and_the_ends_are_the_files_to_the_bit(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    base, tuned = pair_of_files(tmp_path, dtype)
    before, after = load_file(base), load_file(tuned)
    integers = {"count": after["count"]}
    same_bits(mixed(base, tuned, lambda _: 0.0, tmp_path / "0"), {**before, **integers})
    same_bits(mixed(base, tuned, lambda _: 1.0, tmp_path / "1"), after)
    lerped = {n: torch.lerp(before[n], t, 0.3) for n, t in after.items() if t.is_floating_point()}
    found = mixed(base, tuned, lambda _: 0.3, tmp_path / "between")
    same_bits(found, {**lerped, **integers})
    for name in lerped:  # half precision is rounded once
        exact = 0.7 * before[name].double() + 0.3 * after[name].double()
        torch.testing.assert_close(found[name].double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_simulation_and_stream_mix_alike(tmp_path: Path) -> None:
    """WiSE-FT and LiNeS on weights in memory and on files give the same bits."""
    base = folder(tmp_path / "base", layers=4)
    model = llama(layers=4)
    model.load_state_dict(moved(model.state_dict()))
    model.save_pretrained(tmp_path / "tuned")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "tuned" / "model.safetensors")
    layout = Layout(before)
    for number, method in enumerate((WiseFT(alpha=0.4), LiNeS(a=0.2))):

        def share(name: str, method: Any = method) -> float:
            return (
                method.share(name)
                if isinstance(method, WiseFT)
                else method.share(layout.block_of(name), layout.blocks)
            )

        found = mixed(base, tmp_path / "tuned", share, tmp_path / str(number))
        same_bits(found, interpolate_all(before, after, share))


def test_a_share_per_entry() -> None:
    base, tuned, share = torch.zeros(3), torch.ones(3), torch.tensor([0.0, 0.25, 1.0])
    assert interpolate(base, tuned, share).tolist() == [0.0, 0.25, 1.0]


def test_written_files_are_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "x": torch.arange(6, dtype=torch.int32).reshape(2, 3), "y": torch.randn(4).to(torch.float8_e4m3fn),
        "flag": torch.tensor([True, False, True]), "ümlaut": torch.randn(2, 2, dtype=torch.bfloat16),
    }  # fmt: skip
    infos = {name: TensorInfo(t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    write_safetensors(tmp_path / "x.safetensors", infos, tensors.__getitem__, {"format": "pt"})
    same_bits(load_file(tmp_path / "x.safetensors"), tensors)
    read = SafetensorsFile(tmp_path / "x.safetensors")
    assert read.metadata == {"format": "pt"} and list(read.infos) == list(tensors)
    same_bits({name: read.load(name) for name in read.infos}, tensors)
    with pytest.raises(ValueError, match="not TensorInfo"):
        write_safetensors(tmp_path / "y.safetensors", infos, lambda name: torch.zeros(1))


def test_sharded_in_sharded_out_with_configuration_and_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = folder(tmp_path / "base", tied=False)
    model = llama(tied=False).to(torch.bfloat16)
    model.load_state_dict(moved(model.state_dict()))
    folder(tmp_path / "tuned", tied=False)
    (tmp_path / "tuned" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "tuned", max_shard_size="15KB")
    shards = sorted(file.name for file in (tmp_path / "tuned").glob("model-*.safetensors"))
    assert len(shards) > 2
    output = tmp_path / "out"
    found = mixed(base, tmp_path / "tuned", lambda _: 0.5, output)
    assert sorted(file.name for file in output.glob("*.safetensors")) == shards
    kept = {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    assert kept <= {file.name for file in output.iterdir()}
    assert all(tensor.dtype == torch.bfloat16 for tensor in found.values())  # the tuned model's type
    again = AutoModelForCausalLM.from_pretrained(output)
    same_bits(dict(again.state_dict()), {name: found[name] for name in again.state_dict()})
    assert AutoTokenizer.from_pretrained(output)("1+2=").input_ids
    before = load_file(base / "model.safetensors")
    for name, tensor in model.state_dict().items():
        expected = torch.lerp(before[name], tensor.float(), 0.5).to(torch.bfloat16)
        assert torch.equal(found[name], expected), name


def test_open_clip_folder_goes_through_open_clip(tmp_path: Path) -> None:
    import open_clip

    base = weights_of("emoji-clip")
    assert base is not None
    before = load_file(base / "open_clip_model.safetensors")
    tuned = tmp_path / "tuned.safetensors"
    save_file(moved(before), tuned)
    source = open_checkpoint(base).source
    merge(source, open_checkpoint(tuned), lambda _: 0.25, tmp_path / "out", into=open_checkpoint(base))
    assert not list((tmp_path / "out").glob("*.py"))
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    after = load_file(tuned)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.lerp(before[name], after[name], 0.25)), name


def test_torch_files_are_read_without_unpickling_and_written_again(tmp_path: Path) -> None:
    base, _ = pair_of_files(tmp_path)
    before = load_file(base)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in moved(before).items()}}
    torch.save(wrapped, tmp_path / "epoch_3.pt")
    source = open_checkpoint(base).source
    merge(source, open_checkpoint(tmp_path / "epoch_3.pt"), lambda _: 0.5, tmp_path / "out")
    written = torch.load(tmp_path / "out" / "epoch_3.pt", weights_only=True)
    after = moved(before)
    same_bits(
        {n: written[n] for n in ("a", "b")}, {n: torch.lerp(before[n], after[n], 0.5) for n in ("a", "b")}
    )


# -- adapters ------------------------------------------------------------------------------------------------
def adapter(base: Path, path: Path, **options: Any) -> Any:
    """A LoRA adapter of peft with random B, on disk; returns the merged model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    return model.merge_and_unload()


CONFIGURATIONS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rank-stabilised": {"r": 4, "lora_alpha": 3, "use_rslora": True, "target_modules": "all-linear"},
    "patterns": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj"],
        "rank_pattern": {"k_proj": 2}, "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 5},
    },
    "embedding": {"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens", "o_proj"]},
    "saved whole": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_adapter_is_peft_merged(tmp_path: Path, name: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = folder(tmp_path / "base", tied=False)
    expected = adapter(base, tmp_path / "adapter", **CONFIGURATIONS[name]).state_dict()
    source = open_checkpoint(base).source
    tuned = open_checkpoint(tmp_path / "adapter", source)
    assert tuned.kind == "adapter"
    before = load_file(base / "model.safetensors")
    assert any(not torch.equal(expected[n], before[n]) for n in before)
    for tensor in before:
        torch.testing.assert_close(tuned.source.load(tensor), expected[tensor], atol=1e-6, rtol=0)

    def share(tensor: str) -> float:
        return 0.25 if "layers.0" in tensor else 0.6

    # An adapter stays an adapter, which peft loads; merged, it is the same model.
    merge(source, tuned, share, tmp_path / "scaled")
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "scaled")
    found = again.merge_and_unload().state_dict()
    merge(source, tuned, share, tmp_path / "merged", into=open_checkpoint(base))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    for tensor, original in before.items():
        exact = torch.lerp(original, expected[tensor], share(tensor))
        torch.testing.assert_close(found[tensor], exact, atol=1e-6, rtol=0)
        torch.testing.assert_close(merged[tensor], exact, atol=1e-6, rtol=0)


# -- where tensors lie ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("spec", ["emoji-clip", "tiny-lm"])
def test_layout_agrees_with_the_model(spec: str) -> None:
    model = load_model(spec)
    stem = "clip." if spec == "emoji-clip" else "lm."
    names = [name.removeprefix(stem) for name in model.state_dict()]
    layout = Layout(names)
    assert layout.blocks == model.blocks
    for name in names:
        assert layout.block_of(name) == model.block_of(stem + name), name
    assert layout.parts[1:3] == ("block 0", "block 1")
    assert ("text tower" in layout.parts) == (spec == "emoji-clip")


def test_kinds_of_tensors() -> None:
    expected = {
        "visual.transformer.resblocks.0.ln_1.weight": "norm",
        "visual.transformer.resblocks.0.attn.in_proj_weight": "attention",
        "visual.transformer.resblocks.0.mlp.c_fc.weight": "MLP",
        "visual.conv1.weight": "embedding",
        "visual.proj": "projection and head",
        "model.layers.1.post_attention_layernorm.weight": "norm",
        "model.layers.1.self_attn.o_proj.weight": "attention",
        "model.layers.1.mlp.gate_proj.weight": "MLP",
        "model.embed_tokens.weight": "embedding",
        "lm_head.weight": "projection and head",
        "logit_scale": "other",
    }
    assert {name: kind_of(name) for name in expected} == expected


def test_distances_by_group(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}, tmp_path / "0.safetensors")
    save_file({"a": torch.tensor([3.0, 3.0]), "b": torch.tensor([0.0, 2.0])}, tmp_path / "1.safetensors")
    before, after = (open_checkpoint(tmp_path / f"{i}.safetensors").source for i in (0, 1))
    found = distances(before, after, lambda name: (name,))
    assert vars(found["a"]) == {"parameters": 2, "distance": 1.0, "relative": 0.2}
    assert vars(found["b"]) == {"parameters": 2, "distance": 2.0, "relative": None}
    assert found["all"].distance == pytest.approx(5**0.5)


# -- bad input -----------------------------------------------------------------------------------------------
def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    base = folder(tmp_path / "base")
    source = open_checkpoint(base).source

    def refuse(tensors: dict[str, Tensor], match: str) -> None:
        save_file(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(UserError, match=match) as caught:
            check_pair(source, open_checkpoint(tmp_path / "bad.safetensors").source)
        assert "\n" not in str(caught.value)

    good = load_file(base / "model.safetensors")
    check_pair(source, source)
    name = "model.layers.1.mlp.up_proj.weight"
    refuse({n: t for n, t in good.items() if n != name}, f"lacks 1 tensors.*{name}")
    refuse({**good, "adapter.x": torch.zeros(2)}, "1 tensors that .* lacks, the first 'adapter.x'")
    refuse({**good, name: torch.zeros(3, 3)}, "two sizes of one architecture")
    embedding = good["model.embed_tokens.weight"]
    more = torch.cat([embedding, embedding[:2]])
    refuse({**good, "model.embed_tokens.weight": more}, r"vocabularies differ.*resize_token_embeddings\(56\)")
    refuse({**good, name: good[name].to(torch.float8_e4m3fn)}, "save the model as bfloat16")
    refuse({"visual.proj": torch.zeros(2)}, "two architectures")


def test_what_a_training_script_keeps_its_arguments_in_is_no_code(tmp_path: Path) -> None:
    """timm's and torchvision's scripts save their argparse.Namespace beside the weights."""
    state = {"block.weight": torch.ones(2, 2)}
    torch.save({"state_dict": state, "args": Namespace(lr=0.1)}, tmp_path / "last.pth")
    assert torch.equal(open_checkpoint(tmp_path / "last.pth").source.load("block.weight"), torch.ones(2, 2))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    base, _ = pair_of_files(tmp_path)

    def refuse(path: Path, match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            open_checkpoint(path)
        assert "\n" not in str(caught.value)

    refuse(tmp_path / "nowhere", "no model at")
    (tmp_path / "short.safetensors").write_bytes(base.read_bytes()[:-3])
    refuse(tmp_path / "short.safetensors", "cut short")
    (tmp_path / "text.safetensors").write_text("these are no weights at all")
    refuse(tmp_path / "text.safetensors", "not a safetensors file")
    (tmp_path / "tiny.safetensors").write_bytes(b"")
    refuse(tmp_path / "tiny.safetensors", "not a safetensors file")
    torch.save({"model": llama()}, tmp_path / "whole.pt")
    refuse(tmp_path / "whole.pt", r"not a file of tensors alone \(it holds a transformers\.\S+Llama\w+\)")
    torch.save([1, 2], tmp_path / "list.pt")
    refuse(tmp_path / "list.pt", "holds no state dict")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refuse(tmp_path / "model.gguf", "GGUF file.*give the model it was made from")
    (tmp_path / "notes.txt").write_text("x")
    refuse(tmp_path / "notes.txt", "no weights file of a known kind")
    (tmp_path / "void").mkdir()
    refuse(tmp_path / "void", "holds no weights")
    (tmp_path / "void" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors"}}')
    refuse(tmp_path / "void", "lacks the shard 1.safetensors")
    (tmp_path / "void" / "model.safetensors.index.json").write_text("{}")
    refuse(tmp_path / "void", "not an index of shards")


def test_adapters_that_cannot_be_used(tmp_path: Path) -> None:
    base = folder(tmp_path / "base")
    adapter(base, tmp_path / "adapter", **CONFIGURATIONS["plain"])
    with pytest.raises(UserError, match="LoRA adapter, no model"):
        open_checkpoint(tmp_path / "adapter")
    other = open_checkpoint(folder(tmp_path / "other", layers=1)).source
    with pytest.raises(UserError, match="does not have; name as base"):
        open_checkpoint(tmp_path / "adapter", other)
    file = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    source = open_checkpoint(base).source
    for changed, match in (({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "IA3, not LORA")):
        file.write_text(json.dumps({**config, **changed}))
        with pytest.raises(UserError, match=f"{match}.*merge_and_unload"):
            open_checkpoint(tmp_path / "adapter", source)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    base, tuned = pair_of_files(tmp_path)
    before = open_checkpoint(base).source
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(UserError, match="exists; choose another"):
        merge(before, open_checkpoint(tuned), lambda _: 0.5, tmp_path / "out")

    def fails(name: str) -> float:
        if name == "b":
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        merge(before, open_checkpoint(tuned), fails, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.safetensors",
        "out",
        "tuned.safetensors",
    ]

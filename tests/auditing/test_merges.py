"""Several tuned models merged by `repair`: the bits of a simulation, in files; adapters that take up an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from auditing_conftest import Tuned
from safetensors.torch import load_file, save_file
from torch import Tensor

from cl_forget.auditing import audit, repair
from cl_forget.auditing.edits import MERGES, Reduction, formula_of
from cl_forget.auditing.pair import load_pair
from cl_forget.ground.errors import UserError
from cl_forget.mitigations.intruder_reduction import IntruderReduction
from cl_forget.models import load_model, weights_of
from cl_forget.training.context import Edit


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models beside emoji-clip, in half precision as many are stored."""
    folder = tmp_path_factory.mktemp("files")
    before = load_file(weights_of("emoji-clip") / "open_clip_model.safetensors")  # type: ignore[operator]
    paths = []
    for number in range(2):
        random = torch.Generator().manual_seed(number)
        moved = {n: t + 0.02 * torch.randn(t.shape, generator=random).to(t) for n, t in before.items()}
        paths.append(folder / f"{number}.safetensors")
        save_file({n: t.bfloat16() for n, t in moved.items()}, paths[-1])
    return paths


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_has_the_bits_of_a_simulation(name: str, files: list[Path], tmp_path: Path) -> None:
    pair = load_pair("emoji-clip", str(files[1]), others=[str(files[0])])
    pair.load()
    formula = formula_of(name, pair)
    setting = formula.settings[len(formula.settings) // 2]
    pair.write(formula.streamed(setting), tmp_path / "out")
    written = load_file(tmp_path / "out" / "1.safetensors")

    model = load_model("emoji-clip")
    start = {n: t.detach().clone() for n, t in model.state_dict().items()}
    ends: list[dict[str, Tensor]] = []
    for file in files:
        stored = load_file(file)
        ends.append({n: stored.get(n.removeprefix("clip."), t).to(t) for n, t in start.items()})
    edit = Edit(model, start, start, [lambda e=e: e for e in ends], [lambda: start] * 2)
    cls = MERGES[name]
    expected = cls(**({cls.knob: setting} if cls.knob else {})).edit_weights(edit, ends[-1])
    pair.place(formula.kept()(setting))
    placed = pair.model.state_dict()
    for full, tensor in expected.items():
        stored_name = full.removeprefix("clip.")
        assert torch.equal(placed[full], tensor), full
        if stored_name in written:
            assert torch.equal(written[stored_name], tensor.bfloat16()), full
    assert any(not torch.equal(expected[n], ends[-1][n]) for n in expected)


def test_repair_merges_and_writes_what_it_measured(
    clip_run: Tuned, files: list[Path], tmp_path: Path
) -> None:
    """A run with a trained head beside a plain file that has none: the head is merged as one that did not move."""
    options = {"suites": ["emoji"], "limit": 20, "samples": 20, "anyway": True, "keep": 0.5}
    found = repair(
        None, [str(files[0]), str(clip_run.folder)], methods=["model_stock", "task_arithmetic"],
        output=tmp_path / "out", **options,
    )  # fmt: skip
    assert found.merged == [str(files[0])]
    assert [c.label for c in found.candidates[:2]] == ["wise_ft, alpha 1", "model_stock, models 2"]
    assert [c.setting for c in found.candidates[2:]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    chosen = found.choice
    if chosen.method == "task_arithmetic":
        before = load_model("emoji-clip").state_dict()["clip.visual.proj"]
        one, two = (
            load_file(p)["visual.proj"].float()
            for p in (files[0], clip_run.folder / "open_clip_model.safetensors")
        )
        merged = before + chosen.setting * (one - before + two - before)
        assert_written = load_file(tmp_path / "out" / "model" / "open_clip_model.safetensors")["visual.proj"]
        torch.testing.assert_close(assert_written, merged, atol=1e-6, rtol=0)
    assert (tmp_path / "out" / "model" / "heads.safetensors").is_file()
    again = audit("emoji-clip", str(tmp_path / "out" / "model"), suites=["emoji"], limit=20, by_part=False)
    assert again.losses[0].tuned == found.losses[1].repaired


def adapter(base: str, folder: Path, seed: int, **options: object) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "up_proj"], **options)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
@pytest.mark.parametrize("options", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 3}}])
def test_an_adapter_takes_up_the_reduction(lm_run: Tuned, tmp_path: Path, options: dict[str, object]) -> None:
    """It stays an adapter, of a higher rank, and peft makes of it what the edit of the merged weights is."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = lm_run.base.removeprefix("hf:")
    pair = load_pair(lm_run.base, str(adapter(base, tmp_path / "adapter", 0, **options)))
    pair.load()
    edit = Reduction(pair).streamed(0.25)
    pair.write(edit, tmp_path / "out")
    pair.write(edit, tmp_path / "full", merge_adapter=True)
    full = AutoModelForCausalLM.from_pretrained(tmp_path / "full").state_dict()
    before = AutoModelForCausalLM.from_pretrained(base)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    weights = tuned.merge_and_unload().state_dict()
    start = dict(before.state_dict())
    whole = Edit(before, start, start)  # type: ignore[arg-type]
    expected = IntruderReduction(scale=0.25).edit_weights(whole, weights)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out")
    for name, tensor in again.merge_and_unload().state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=0, msg=name)
        torch.testing.assert_close(full[name], expected[name], atol=1e-5, rtol=0, msg=name)
    assert any(not torch.allclose(weights[name], expected[name], atol=1e-2) for name in weights)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
def test_adapters_are_merged_into_a_whole_model(lm_run: Tuned, tmp_path: Path) -> None:
    base = lm_run.base.removeprefix("hf:")
    two = [str(adapter(base, tmp_path / str(seed), seed)) for seed in (1, 2)]
    data = {"stream": [{"sums": {"tasks": 1, "count": 40}}], "suites": ["rhyme"], "methods": ["magmax"]}
    with pytest.raises(UserError, match="--merge-adapter"):
        repair(lm_run.base, two, **data)
    pair = load_pair(lm_run.base, two[1], others=two[:1])
    pair.load()
    formula = formula_of("magmax", pair)
    pair.write(formula.streamed(0.5), tmp_path / "out", merge_adapter=True)
    written, start = (
        load_file(tmp_path / "out" / "model.safetensors"),
        load_file(Path(base) / "model.safetensors"),
    )
    name = "model.layers.0.mlp.up_proj.weight"
    taus = [model.source.load(name) - start[name] for model in pair.models]
    largest = torch.where(taus[1].abs() > taus[0].abs(), taus[1], taus[0])
    torch.testing.assert_close(written[name], start[name] + 0.5 * largest, atol=1e-6, rtol=0)


def test_a_head_of_its_own_is_not_lost_in_a_merge(lm_run: Tuned, tmp_path: Path) -> None:
    start = load_file(Path(lm_run.base.removeprefix("hf:")) / "model.safetensors")
    embedding = start["model.embed_tokens.weight"]
    save_file(start, tmp_path / "tied.safetensors")
    save_file({**start, "lm_head.weight": embedding + 1}, tmp_path / "untied.safetensors")
    with pytest.raises(UserError, match="only one has an output head"):
        load_pair(
            lm_run.base, str(tmp_path / "tied.safetensors"), others=[str(tmp_path / "untied.safetensors")]
        )


def test_one_model_cannot_be_averaged_with_itself(clip_run: Tuned) -> None:
    with pytest.raises(UserError, match="name each with --tuned"):
        repair(None, str(clip_run.folder), methods=["model_stock"])
    with pytest.raises(UserError, match="named twice"):
        repair(None, [str(clip_run.folder)] * 2)

"""The search against the simulation's own curves; the model it writes, through the libraries that read it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from auditing_conftest import LIMIT, Tuned
from safetensors.torch import load_file

import cl_forget
from cl_forget.auditing import Candidate, Point, Repair, audit, repair
from cl_forget.auditing.repair import choose
from cl_forget.models import load_model, weights_of


@pytest.fixture(scope="module")
def clip_repair(clip_run: Tuned, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repair, Path]:
    output = tmp_path_factory.mktemp("repair")
    options = {"methods": ["wise_ft", "lines", "restore"], "limit": LIMIT, "samples": 20, "anyway": True}
    return cl_forget.repair(None, str(clip_run.folder), output=output, **options), output


def test_wise_ft_is_the_simulations_curve(clip_run: Tuned, tmp_path: Path) -> None:
    found = repair(
        None, str(clip_run.folder), output=tmp_path, methods=["wise_ft"], limit=LIMIT, samples=LIMIT
    )
    (curve,) = clip_run.result.curves
    rows = {point.value: point.row for point in curve.points}
    candidates = {c.setting: c for c in found.candidates}
    assert candidates.keys() == rows.keys()
    for value, row in rows.items():
        measured = candidates[value].validation
        assert measured.speciality == pytest.approx(row.tasks["digits"].validation.accuracy)
        assert measured.generality == pytest.approx(row.suites["emoji"].validation.accuracy)
    row = rows[found.choice.setting]
    for loss in found.losses:
        known = (row.tasks if loss.role == "task" else row.suites)[loss.name].test
        assert loss.repaired.model_dump() == pytest.approx(known.model_dump(), abs=1e-6)


def test_the_written_model_is_the_edit_and_open_clip_loads_it(
    clip_run: Tuned, clip_repair: tuple[Repair, Path]
) -> None:
    import open_clip

    found, output = clip_repair
    assert sorted(path.name for path in output.iterdir()) == [
        "candidates.csv", "model", "repair.json", "report.html", "tradeoff.png",
    ]  # fmt: skip
    assert [Path(path).name for path in found.written] == sorted(
        path.name for path in (output / "model").iterdir()
    )
    folder = weights_of("emoji-clip")
    assert folder is not None
    before = {n: t.float() for n, t in load_file(folder / "open_clip_model.safetensors").items()}
    after = load_file(clip_run.folder / "open_clip_model.safetensors")
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{output / 'model'}")
    shares = found.choice.shares
    for name, tensor in clip.state_dict().items():
        block = name.removeprefix("visual.transformer.resblocks.")
        if block != name:
            share = shares[f"block {block[0]}"]
            expected = (
                torch.lerp(before[name], after[name], share)
                if 0 < share < 1
                else (before, after)[int(share)][name]
            )
            assert torch.equal(tensor, expected), name
    heads = load_file(output / "model" / "heads.safetensors")
    assert heads.keys() == load_file(clip_run.folder / "heads.safetensors").keys()
    # Audited like any other model it is what the repair said it is.
    again = audit("emoji-clip", str(output / "model"), suites=["emoji"], limit=LIMIT, by_part=False)
    assert again.losses[0].tuned == found.losses[1].repaired


def test_search_and_choice(clip_repair: tuple[Repair, Path]) -> None:
    found, output = clip_repair

    def balance(c: Candidate) -> float:
        retention = c.validation.generality / found.base_point.generality
        return (retention + c.validation.speciality / found.tuned_point.speciality) / 2

    lowest = found.tuned_point.ranges["speciality"].low
    allowed = [c for c in found.candidates if c.validation.speciality >= lowest]
    assert balance(found.choice) == pytest.approx(max(map(balance, allowed)))
    assert len(allowed) < len(found.candidates)
    assert {c.method for c in found.candidates} == {"wise_ft", "lines", "restore"}
    ends = {c.setting: c for c in found.candidates if c.method == "wise_ft"}
    assert ends[0.0].validation == found.base_point and ends[1.0].validation == found.tuned_point
    lines = next(c for c in found.candidates if c.method == "lines" and c.setting == 0.4)
    assert [lines.shares[f"block {i}"] for i in range(4)] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    everything = max((c for c in found.candidates if c.knob == "parts"), key=lambda c: c.setting)
    assert everything.validation == found.base_point  # all parts put back
    points = [(c.validation.speciality, c.validation.generality) for c in found.candidates]
    for c, (x, y) in zip(found.candidates, points, strict=True):  # the front, by definition
        assert c.front == (not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)), c.label
    assert Repair.model_validate_json((output / "repair.json").read_text()) == found
    rows = list(csv.DictReader((output / "candidates.csv").read_text().splitlines()))
    assert [row["chosen"] for row in rows].count("True") == 1 and len(rows) == len(found.candidates)


def candidate(speciality: float, generality: float, share: float) -> Candidate:
    point = Point(speciality=speciality, generality=generality, qualities={})
    return Candidate(method="wise_ft", knob="alpha", setting=share, shares={"all": share}, validation=point)


def test_choice_by_hand() -> None:
    tuned, base = candidate(1.0, 0.2, 1.0), candidate(0.1, 0.8, 0.0)
    middle, near, twin = candidate(0.9, 0.6, 0.5), candidate(0.98, 0.4, 0.8), candidate(0.9, 0.6, 0.6)
    every = [tuned, base, middle, near, twin]
    ends = base.validation, tuned.validation
    # means: tuned (1 + .25)/2 = .625, base (.1 + 1)/2 = .55, middle (.9 + .75)/2 = .825, near (.98 + .5)/2 = .74
    assert choose(every, *ends, None)[0] == 4  # of the equal two, the one nearer to the tuned model
    assert choose(every[:4], *ends, None)[0] == 2
    assert choose(every, *ends, 0.98)[0] == 3
    assert choose(every, *ends, 1.0)[0] == 0
    assert choose(every, *ends, 0.05)[0] == 1
    assert "keep 0.98" in choose(every, *ends, 0.98)[1]


def test_language_model_folder(lm_run: Tuned, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = repair(
        lm_run.base, str(lm_run.folder / "model"), [{"sums": {"tasks": 1, "count": 40}}], ["rhyme"],
        output=tmp_path / "out", keep=0.5, anyway=True,
    )  # fmt: skip
    assert {c.method for c in found.candidates} == {"wise_ft", "lines", "hma", "restore"}
    assert (tmp_path / "out" / "model" / "generation_config.json").is_file()
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    before = load_model(lm_run.base).lm.state_dict()
    after = load_file(lm_run.folder / "model" / "model.safetensors")
    shares = found.choice.shares
    for name, tensor in after.items():
        if "layers.1." in name:
            expected = before[name] + shares["block 1"] * (tensor - before[name])
            torch.testing.assert_close(again.state_dict()[name], expected, atol=1e-6, rtol=0)
    (rhyme,) = audit(lm_run.base, str(tmp_path / "out" / "model"), suites=["rhyme"], by_part=False).losses
    assert found.losses[1].repaired.perplexity == pytest.approx(rhyme.tuned.perplexity)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
def test_adapter_in_adapter_out(lm_run: Tuned, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base = lm_run.base.removeprefix("hf:")
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(tmp_path / "adapter")
    options = {"stream": ["sums-one"], "suites": ["rhyme"], "methods": ["lines"], "keep": 1.0, "anyway": True}
    from cl_forget.streams import STREAMS

    STREAMS.add("sums-one", "auditing_conftest:sums_one")
    found = repair(lm_run.base, str(tmp_path / "adapter"), output=tmp_path / "out", **options)
    assert found.format == "adapter"
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out" / "model")
    repair(lm_run.base, str(tmp_path / "adapter"), output=tmp_path / "full", merge_adapter=True, **options)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "full" / "model").state_dict()
    for name, tensor in again.merge_and_unload().state_dict().items():
        torch.testing.assert_close(tensor, merged[name], atol=1e-6, rtol=0)


def test_hma_lowers_the_validation_loss_at_a_fixed_mean(lm_run: Tuned) -> None:
    """Its fit is read with nothing but the loss, the one that the evaluation reports."""
    from cl_forget.auditing.bench import Bench, choose_data
    from cl_forget.auditing.pair import load_pair
    from cl_forget.auditing.repair import Search

    pair = load_pair(None, str(lm_run.folder))
    tasks, suites = choose_data(pair, [], [])
    pair.load()
    bench = Bench(pair, tasks, suites)
    known = lm_run.result.rows[-1].tasks["sums-1"].validation.loss
    assert bench.loss(lambda _: 1.0) == pytest.approx(known, rel=1e-5)
    search = Search(bench, bench)
    for fitted in search.run(["hma"])[1:]:
        shares = [fitted.shares[f"block {i}"] for i in range(2)]
        assert sum(shares) / 2 == pytest.approx(fitted.setting)
        even = bench.loss(lambda _, alpha=fitted.setting: alpha)
        assert bench.loss(search.share(fitted.shares)) <= even

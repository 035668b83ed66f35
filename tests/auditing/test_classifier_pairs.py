"""Image classifiers through `audit` and `repair`: their own head, heads of tasks, BatchNorm's statistics, files."""

from __future__ import annotations

from pathlib import Path

import classifiers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cl_forget.auditing import audit, repair
from cl_forget.auditing.pair import as_spec, load_pair
from cl_forget.config.run import Run
from cl_forget.evaluation.batch_norm import statistics
from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.models.timm_sources import classifier_of
from cl_forget.run.simulate import simulate

DATA = {"stream": [{"squares": {"tasks": 1, "per_class": 20}}], "suites": ["colours"]}


def folder_of(path: Path, kind: str = "resnet", classes: int = 4) -> Path:
    classifier_of(classifiers.timm_net(kind, classes), "timm:test").save_net(path)
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of timm, and a run that tuned it with BatchNorm updating its statistics."""
    folder = tmp_path_factory.mktemp("classifier")
    base = folder_of(folder / "base")
    train = {"epochs": 4, "batch_size": 12, "lr": 3e-3, "batch_norm": "update"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_FORGET_CACHE", str(folder / "cache"))
        simulate(Run.parse({"model": f"timm:local-dir:{base}", **DATA, "train": train}), folder / "run")
    return base, folder / "run"


def test_an_audit_of_a_run(tuned: tuple[Path, Path]) -> None:
    base, run = tuned
    found = audit(None, str(run), fail_if="generality < -90 points", quantise=[8])
    task, suite = found.losses
    assert task.base.accuracy is None and task.tuned.accuracy is not None, "no head before there was one"
    assert suite.base.accuracy is not None and suite.drop == suite.base.accuracy - suite.tuned.accuracy
    assert all(scores.kl_to_base is not None for scores in (task.tuned, suite.tuned))
    inside = ["before the blocks", *(f"block {i}" for i in range(4))]
    assert [part.name for part in found.parts] == ["all", *inside, "after the blocks"]
    assert found.parts[-1].distance == 0, "the head of pre-training is not trained"
    assert set(found.drift.feature_drift) == set(load_model(f"timm:local-dir:{base}").depths)
    assert found.gate is not None and found.gate.answer in ("passes", "cannot be told")
    assert [effect.part for effect in found.effects] == inside
    again = audit(str(base), str(run / "model"), suites=["colours"], by_part=False)
    assert again.losses[0].tuned == suite.tuned and again.losses[0].base == suite.base


def test_a_repair_writes_what_it_measured_with_statistics_of_its_own(
    tuned: tuple[Path, Path], tmp_path: Path
) -> None:
    base, run = tuned
    found = repair(None, str(run), methods=["wise_ft"], keep=0.3, output=tmp_path, anyway=True)
    assert found.statistics == "re-estimated"
    pair = load_pair(str(base), str(tmp_path / "model"))
    suite = audit(str(base), str(tmp_path / "model"), suites=["colours"], by_part=False).losses[0]
    assert suite.tuned.accuracy == found.losses[1].repaired.accuracy
    before, after = load_file(base / "model.safetensors"), load_file(run / "model" / "model.safetensors")
    written = load_file(tmp_path / "model" / "model.safetensors")
    moved = [n.removeprefix("net.") for n in statistics(pair.model)]
    share = found.choice.setting
    for name, tensor in written.items():
        if name not in moved and tensor.is_floating_point():
            ends = {0.0: before[name], 1.0: after[name]}
            expected = ends.get(share, torch.lerp(before[name], after[name], share))
            assert torch.equal(tensor, expected), name
    assert (
        load_file(tmp_path / "model" / "heads.safetensors").keys()
        == load_file(run / "heads.safetensors").keys()
    )
    if 0 < share < 1:
        assert any(not torch.equal(written[n], torch.lerp(before[n], after[n], share)) for n in moved)


def test_statistics_are_the_mean_over_batches_at_the_edited_weights(tuned: tuple[Path, Path]) -> None:
    from cl_forget.auditing.bench import Bench, choose_data

    pair = load_pair(None, str(tuned[1]))
    tasks, suites = choose_data(pair, [], [])
    pair.add_tasks(tasks)
    pair.load()
    assert Bench(pair, tasks, suites).renew_statistics()
    pair.place(lambda _: 0.5)
    first = next(name for name in statistics(pair.model) if name.endswith("running_mean"))
    layer = first.removesuffix(".running_mean")
    seen: list[Tensor] = []
    hook = pair.model.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    (source,) = pair.sources
    with torch.no_grad():
        for indices in torch.randperm(len(source), generator=torch.Generator().manual_seed(0)).split(64):
            pair.model(source.batch(indices))
    hook.remove()
    expected = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(pair.model.get_buffer(first), expected, atol=1e-5, rtol=1e-4)
    pair.place(lambda _: 1.0)
    assert torch.equal(pair.model.get_buffer(first), pair._tuned_weights[first])


def test_a_tuned_file_with_a_head_for_other_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What most people have: the trunk is compared, and the base's head answers what it knows."""
    base = folder_of(tmp_path / "base")
    tuned = load_file(folder_of(tmp_path / "tuned", classes=7) / "model.safetensors")
    moved = {n: t + 0.01 if t.is_floating_point() else t for n, t in tuned.items()}
    save_file(moved, tmp_path / "tuned.safetensors")
    found = audit(str(base), str(tmp_path / "tuned.safetensors"), suites=["colours"], by_part=False)
    assert "not for the base's classes" in caplog.text
    assert found.losses[0].tuned.accuracy is not None and found.losses[0].tuned.kl_to_base > 0
    head = {name for name in tuned if name.startswith("fc.")}
    numbers = sum(t.numel() for n, t in tuned.items() if t.is_floating_point() and n not in head)
    assert found.parts[0].parameters == numbers
    pair = load_pair(str(base), str(tmp_path / "tuned.safetensors"))
    pair.load()
    pair.write(lambda _: 0.0, tmp_path / "out")
    written, start = load_file(tmp_path / "out" / "tuned.safetensors"), load_file(base / "model.safetensors")
    for name, tensor in written.items():
        assert torch.equal(
            tensor, moved[name] if name in head or not tensor.is_floating_point() else start[name]
        )
    with pytest.raises(UserError, match="has no head for task"):
        repair(str(base), str(tmp_path / "tuned.safetensors"), ["digits"], ["colours"])


def test_a_classifier_of_transformers(tmp_path: Path) -> None:
    """Folder against folder, with the classes of the model's own head as task and suite."""
    from transformers import AutoModelForImageClassification

    base = classifiers.hf_folder(tmp_path / "base", "resnet")
    assert as_spec(str(base)) == f"hf-image:{base}"
    model = AutoModelForImageClassification.from_pretrained(base)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02)
    model.save_pretrained(tmp_path / "tuned")
    found = audit(str(base), str(tmp_path / "tuned"), suites=["colours"], by_part=False)
    assert found.format == "folder" and found.losses[0].tuned.kl_to_base > 0
    numbers = sum(p.numel() for p in model.parameters())
    assert found.parts[0].distance == pytest.approx(0.02 * numbers**0.5, rel=1e-3)
    pair = load_pair(str(base), str(tmp_path / "tuned"))
    pair.load()
    pair.write(lambda _: 0.5, tmp_path / "half")
    start = AutoModelForImageClassification.from_pretrained(base)
    half = AutoModelForImageClassification.from_pretrained(tmp_path / "half").state_dict()
    for name, tensor in start.named_parameters():
        torch.testing.assert_close(half[name], tensor + 0.01, atol=1e-5, rtol=0)

"""The audit against the simulation's own numbers and against edits made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from auditing_conftest import LIMIT, Tuned
from matplotlib.image import imread
from safetensors.torch import load_file

import cl_forget
from cl_forget.auditing import Audit, audit
from cl_forget.auditing.records import Effect, Loss, Moved, Point
from cl_forget.auditing.specification import audit_findings, specify_audit
from cl_forget.auditing.tables import audit_tables
from cl_forget.ground.records import Scores
from cl_forget.models import load_model, weights_of
from cl_forget.streams import load_suite


@pytest.fixture(scope="module")
def clip_audit(clip_run: Tuned, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    output = tmp_path_factory.mktemp("audit")
    found = cl_forget.audit(None, str(clip_run.folder), output=output, limit=LIMIT, part_samples=20)
    return found, output


def test_numbers_are_the_simulations(clip_run: Tuned, clip_audit: tuple[Audit, Path]) -> None:
    """The same model read back from its files, the same data: the same numbers, head of the task included."""
    found, _ = clip_audit
    before, after = clip_run.result.rows
    for loss in found.losses:
        of = {"task": "tasks", "suite": "suites"}[loss.role]
        for row, scores in ((before, loss.base), (after, loss.tuned)):
            known = getattr(row, of)[loss.name].test.model_dump()
            assert scores.model_dump() == pytest.approx(known, abs=1e-6), loss.name
    assert [(loss.name, loss.role) for loss in found.losses] == [("digits", "task"), ("emoji", "suite")]
    assert found.losses[0].drop < -0.2 and found.losses[1].drop > 0
    drift = after.drift
    assert found.drift.cka == pytest.approx(drift.cka)
    assert found.parts[0].distance == pytest.approx(drift.weight_distance["all"], rel=1e-6)
    for part in found.parts:
        if part.name.startswith("block"):
            assert part.distance == pytest.approx(drift.weight_distance[part.name], rel=1e-6)
    assert {kind.name for kind in found.kinds} >= {"attention", "MLP", "norm", "embedding"}
    total = sum((kind.distance or 0) ** 2 for kind in found.kinds) ** 0.5
    assert total == pytest.approx(found.parts[0].distance)


def test_effect_of_a_part_is_that_of_the_edit_made_by_hand(
    clip_run: Tuned, clip_audit: tuple[Audit, Path]
) -> None:
    found, _ = clip_audit
    folder = weights_of("emoji-clip")
    assert folder is not None
    before = load_file(folder / "open_clip_model.safetensors")
    after = load_file(clip_run.folder / "open_clip_model.safetensors")
    effects = {effect.part: effect for effect in found.effects}
    assert set(effects) == {
        "before the blocks", "block 0", "block 1", "block 2", "block 3", "after the blocks", "task heads",
    }  # fmt: skip  # the text tower was not tuned
    suite = load_suite("emoji")
    from cl_forget.streams import balanced

    data = suite.validation.subset(balanced(suite.validation.labels, 20, "emoji", "validation"))
    model = load_model("emoji-clip").eval()
    block = "visual.transformer.resblocks.1."
    for part, inside, outside in (("restored", before, after), ("alone", after, before)):
        edited = {name: (inside if name.startswith(block) else outside)[name] for name in before}
        model.clip.load_state_dict(edited)
        samples = model.prepare(data, suite, "validation")
        with torch.no_grad():
            logits = torch.cat([model(batch).logits for batch in samples.batches(64)])
        accuracy = float((logits.argmax(1) == samples.targets).float().mean())
        point = getattr(effects["block 1"], part)
        assert point.qualities["emoji"] == pytest.approx(accuracy)
    effect = effects["block 1"]
    assert effect.recovered == effect.restored.generality - found.tuned_point.generality
    assert effect.given_up == found.tuned_point.speciality - effect.restored.speciality


def test_what_is_written(clip_audit: tuple[Audit, Path]) -> None:
    found, output = clip_audit
    names = {"audit.json", "losses.csv", "parts.csv", "audit.png", "report.html"}
    assert {path.name for path in output.iterdir()} == names
    assert Audit.model_validate_json((output / "audit.json").read_text()) == found
    rows = list(csv.DictReader((output / "parts.csv").read_text().splitlines()))
    assert [row["part"] for row in rows] == [part.name for part in found.all_parts]
    assert float(rows[1]["generality_recovered"]) == found.effects[0].recovered
    assert imread(output / "audit.png").shape[1] > 1500  # three panels
    page = (output / "report.html").read_text()
    assert "What was lost" in page and "Which part of the model holds the loss?" in page


def test_without_data_only_weights_are_compared(clip_run: Tuned, tmp_path: Path) -> None:
    file = clip_run.folder / "open_clip_model.safetensors"
    found = audit("emoji-clip", str(file), output=tmp_path / "out")
    assert found.format == "file" and found.losses == [] and found.effects == []
    assert found.parts[0].distance > 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_language_model_and_its_run(lm_run: Tuned, tmp_path: Path) -> None:
    found = audit(None, str(lm_run.folder), output=tmp_path / "out")
    before, after = lm_run.result.rows
    for loss in found.losses:
        of = {"task": "tasks", "suite": "suites"}[loss.role]
        for row, scores in ((before, loss.base), (after, loss.tuned)):
            known = getattr(row, of)[loss.name].test.model_dump()
            assert scores.model_dump() == pytest.approx(known, abs=1e-5), loss.name
    rhyme = next(loss for loss in found.losses if loss.name == "rhyme")
    assert rhyme.drop == pytest.approx(1 / rhyme.base.perplexity - 1 / rhyme.tuned.perplexity)
    assert rhyme.drop > 0
    parts = [effect.part for effect in found.effects]
    assert parts == ["before the blocks", "block 0", "block 1", "after the blocks"]
    # The same two models as folders, without the run: the run's tasks are then named by hand.
    again = audit(lm_run.base, str(lm_run.folder / "model"), suites=["rhyme"], by_part=False)
    assert again.losses[0] == rhyme


def test_a_gate_of_a_language_model(lm_run: Tuned) -> None:
    """Perplexities by a bootstrap; the base's own folder as a second seed that is none."""
    folder = lm_run.base.removeprefix("hf:")
    found = audit(
        lm_run.base, [folder, str(lm_run.folder / "model")], suites=["rhyme", "letters-copied"], by_part=False,
        fail_if=["fluency < -0.1 points", "rhyme < 0.01 %"], control=folder,
    )  # fmt: skip
    assert found.gate is not None and found.gate.answer == "fails"
    answers = {(one.condition, one.checkpoint): one.answer for one in found.gate.judged}
    assert [one.name for one in found.history] == ["base", "model"]
    assert answers["fluency < -0.1 points", "base"] == "passes"
    assert answers["fluency < -0.1 points", "model"] == "fails"
    assert answers["rhyme < 0.01 %", "model"] == "passes"
    assert found.gate.control == folder and found.gate.controls[0].value == 0.0


def test_where_nothing_has_changed_no_change_is_told() -> None:
    same = {"base": Scores(accuracy=1.0), "tuned": Scores(accuracy=1.0)}
    moved = [Moved(name=name, distance=0.0, relative=0.0, parameters=4) for name in ("all", "block 0")]
    found = Audit(
        base="a", tuned="b", format="folder", parts=moved, kinds=[],
        losses=[Loss(name="facts", role="suite", metric="accuracy", drop=0.0, **same)],
    )  # fmt: skip
    said = list(audit_findings(found))
    assert said[0] == "No suite has lost anything."
    assert said[-1] == "No weight has moved: the two models are the same."


def test_weights_alone_are_no_validation_data_and_leave_no_empty_column() -> None:
    moved = [Moved(name=name, distance=1.0, relative=0.1, parameters=4) for name in ("all", "block 0")]
    found = Audit(base="a", tuned="b", format="folder", parts=moved, kinds=moved[1:], losses=[])
    where, _ = audit_tables(found)
    assert "validation" not in str(where.title) and "weights alone" in str(where.title)
    assert [column.header for column in where.columns] == ["part", "parameters", "distance", "relative %"]
    assert [section.name for section in specify_audit(found).sections] == ["moved"]


def test_a_model_that_lost_nothing_is_said_to_have_lost_nothing() -> None:
    def point(generality: float) -> Point:
        return Point(speciality=0.5, generality=generality, qualities={})

    ends = {"base": Scores(accuracy=0.3), "tuned": Scores(accuracy=0.4)}
    effects = [
        Effect(part="block 0", restored=point(0.4), alone=point(0.3), recovered=0.0, given_up=0.0),
        Effect(part="block 1", restored=point(0.3), alone=point(0.3), recovered=-0.1, given_up=0.0),
    ]
    found = Audit(
        base="a",
        tuned="b",
        format="folder",
        parts=[],
        kinds=[],
        losses=[Loss(name="facts", role="suite", metric="accuracy", drop=-0.1, **ends)],
        effects=effects,
    )
    assert list(audit_findings(found)) == [
        "No suite has lost anything; the nearest to it is facts, from 30.0\u00a0% to 40.0\u00a0%.",
        "No interval is known for facts: their samples are not seen one by one (as in tasks of lm-eval), so a small "
        "change may be chance.",
        "No part on its own brings generality back when it is put back to the base.",
    ]

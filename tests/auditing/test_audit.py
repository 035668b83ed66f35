"""The audit against the simulation's own numbers and against edits made by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from auditing_conftest import LIMIT, Tuned
from matplotlib.image import imread
from safetensors.torch import load_file

import cl_forget
from cl_forget.auditing import Audit, audit
from cl_forget.auditing.output import write_audit
from cl_forget.auditing.records import Effect, Loss, Moved, Point
from cl_forget.auditing.specification import audit_findings, specify_audit
from cl_forget.auditing.tables import audit_tables
from cl_forget.evaluation.items import Interval
from cl_forget.ground.records import Scores
from cl_forget.models import load_model, weights_of
from cl_forget.reporting.specification import Table
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
        fail_if=["fluency > 0.1 nats", "rhyme > 1000000000 perplexity"], control=folder,
    )  # fmt: skip
    assert found.gate is not None and found.gate.answer == "fails"
    answers = {(one.condition, one.checkpoint): one.answer for one in found.gate.judged}
    assert [one.name for one in found.history] == ["base", "model"]
    assert answers["fluency > 0.1 nats", "base"] == "passes"
    assert answers["fluency > 0.1 nats", "model"] == "fails"
    assert answers["rhyme > 1000000000 perplexity", "model"] == "passes"
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


def of_texts(base: float, tuned: float, low: float, high: float) -> Audit:
    """An audit of one suite that is measured by perplexity, with the interval of the rise."""
    rise = math.log(tuned / base)
    loss = Loss(
        name="texts", role="suite", metric="perplexity", base=Scores(perplexity=base), tuned=Scores(perplexity=tuned),
        drop=1 / base - 1 / tuned, perplexity_rise=rise,
        ranges={
            "base": Interval(low=0.9 / base, high=1.1 / base),
            "drop": Interval(low=0.0001, high=0.0003),
            "perplexity_rise": Interval(low=low, high=high),
        },
    )  # fmt: skip
    moved = [Moved(name=name, distance=1.0, relative=0.1, parameters=4) for name in ("all", "block 0")]
    return Audit(base="a", tuned="b", format="folder", parts=moved, kinds=moved[1:], losses=[loss])


def test_a_rise_of_perplexity_is_a_loss() -> None:
    """In points of 1/perplexity it would be none: 0.2 % are 0.2 %, a tenth of a point at most."""
    worse, (said, *_) = of_texts(403.5, 447.6, 0.06, 0.14), audit_findings(of_texts(403.5, 447.6, 0.06, 0.14))
    assert said == (
        "Largest rise of a perplexity: texts, from 404 to 448 (+0.104 nats of loss per token; 95 % interval "
        "+0.060 to +0.140)."
    )
    (doubted, *_) = audit_findings(of_texts(403.5, 447.6, -0.1, 0.3))
    assert doubted.endswith("Too few samples to tell whether that is a loss.")
    # What is sure is a loss, however few of its digits are shown.
    (sure, *_) = audit_findings(of_texts(403.5, 403.6, 0.0001, 0.0004))
    assert sure.startswith("Largest rise of a perplexity")
    (better, *_) = audit_findings(of_texts(403.5, 380.0, -0.1, -0.02))
    assert better == "No suite has lost anything; the nearest to it is texts, from 404 to 380."
    lost, *_ = audit_tables(worse)
    assert "perplexity" in str(lost.title)
    cells = [next(iter(column.cells)) for column in lost.columns]
    assert cells == ["texts", "suite", "404", "448", "+0.104", "[+0.060, +0.140]"]


def test_perplexities_are_perplexities_on_the_page_and_in_tables(tmp_path: Path) -> None:
    found = of_texts(403.5, 447.6, 0.06, 0.14)
    table = specify_audit(found).sections[0].items[0]
    assert isinstance(table, Table)
    assert [(m.unit, m.better) for m in table.measures] == [("number", "lower")]
    cell = table.rows["pre-trained"]["texts"]
    assert cell.mean == 403.5 and cell.low == pytest.approx(403.5 / 1.1)
    write_audit(found, tmp_path)
    (row,) = csv.DictReader((tmp_path / "losses.csv").read_text().splitlines())
    assert (float(row["base_perplexity"]), float(row["tuned_perplexity"])) == (403.5, 447.6)
    assert float(row["perplexity_rise_low"]) == 0.06


def test_a_part_put_back_is_told_in_perplexities() -> None:
    def point(perplexity: float) -> Point:
        return Point(speciality=0.5, generality=None, fluency=1 / perplexity, qualities={})

    found = of_texts(400.0, 450.0, 0.06, 0.14)
    found.tuned_point = point(450.0)
    found.effects = [
        Effect(
            part="block 0",
            restored=point(410.0),
            alone=point(440.0),
            recovered=1 / 410 - 1 / 450,
            given_up=0.0,
        )
    ]
    assert (
        "Putting 'block 0' back to the base: perplexity from 450 to 410, at no cost of speciality."
        in list(audit_findings(found))
    )


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

"""The only evaluation path: one pass per data set, every number from that pass.

The pre-trained model's outputs come from the frozen-model cache, so row 0 and everything measured against
it (KL to base, drift, the hardest decile) cost one pass of that model per data set, ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cl_forget.evaluation import metrics
from cl_forget.evaluation.batch_norm import differing, put_back
from cl_forget.evaluation.drift import feature_drift, weight_distance
from cl_forget.evaluation.items import Items
from cl_forget.evaluation.texts import text_scores
from cl_forget.ground.progress import bar
from cl_forget.ground.records import Cost, Drift, Measured, ProbeScores, Row, Scores, TaskScores
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared, evaluating
from cl_forget.streams import balanced
from cl_forget.streams.base import OWN_ANSWERS, Data, Experience, MeasuredData
from cl_forget.training.frozen import (
    FrozenCache,
    FrozenModel,
    teacher,
    teacher_fields,
    unit_rows,
)
from cl_forget.training.probes import probe_accuracy

DRIFT_SAMPLES = 512
"""Feature drift and CKA are taken on at most this many samples of the first suite (or task)."""

PROBE_SHARE = 5
"""Under `evaluate.limit` a linear probe is fitted on at most this many times the limit."""


@dataclass
class Outputs:
    """A model on one data set.

    Attributes:
        logits: (samples, classes).
        losses: (samples,) cross-entropy.
        embedding: (samples, width).
    """

    logits: Tensor
    losses: Tensor
    embedding: Tensor


class Evaluator:
    """Measures a model on every task, suite and probe, against the pre-trained model.

    Args:
        model: the model under simulation; it knows every task's head.
        base: the frozen pre-trained model.
        cache: where the base's outputs are kept.
        tasks, suites, probes: the experiences; all tasks of the stream, also future ones.
        batch_size: samples per forward pass.
        limit: samples per validation, test or shifted set at most; None for all.
        prepared: (experience, split) -> samples already in the model's format; what is missing is added.
    """

    def __init__(
        self,
        model: FoundationModel,
        base: FrozenModel,
        cache: FrozenCache,
        tasks: Sequence[Experience],
        suites: Sequence[Experience],
        probes: Sequence[Experience],
        batch_size: int = 256,
        limit: int | None = None,
        prepared: dict[tuple[str, str], Prepared] | None = None,
        probe_grid: Sequence[float] | None = None,
    ) -> None:
        self.model, self.base, self.cache, self.batch_size = model, base, cache, batch_size
        self.limit, self.probe_grid = limit, probe_grid
        self.tasks, self.suites, self.probes = list(tasks), list(suites), list(probes)
        self._prepared = {} if prepared is None else prepared
        self.items: dict[
            tuple[str, str], Items
        ] = {}  # (experience, split) -> sample by sample, as last measured
        self.row_items: dict[
            tuple[str, str], Items
        ] = {}  # the same of the last row, statistics as they were tuned
        self._base_known: dict[Prepared, Outputs] = {}
        self._trunk_moved = True
        # What the passes of a row are asked for beside its scores, so that nothing runs twice: the embeddings of
        # these (experience, split), and the pooled features that drift is taken from, by depth.
        self._embeddings: dict[tuple[str, str], Tensor | None] = {}
        self._pooled: dict[str, list[Tensor]] | None = None
        self._samples_of_kl: dict[int, tuple[Batch, dict[str, Tensor]]] = {}
        self._pretrained_weights = {n: p.detach() for n, p in base.model.state_dict().items()}

    def prepared(self, experience: Experience, split: str) -> Prepared:
        """A data set of an experience in the model's format, without augmentation; made once."""
        key = (experience.name, split)
        if key not in self._prepared:
            self._prepared[key] = self.base.model.prepare(self.data(experience, split), experience, split)
        return self._prepared[key]

    def data(self, experience: Experience, split: str) -> Data:
        """A data set of an experience as it is measured: under `limit`, the same samples every time."""
        data = experience.splits()[split]
        if self.limit is None or split == "train":
            return data
        return data.subset(balanced(data.labels, self.limit, experience.name, split))

    def row(
        self,
        after: str | None,
        untuned: Sequence[str],
        cost: Cost,
        probing: bool = True,
        restoring: bool = True,
    ) -> Row:
        """Evaluate the model as it is.

        Args:
            after: the stage trained last; None for the pre-trained model, whose outputs are read from the
                cache instead of being computed.
            untuned: tasks of the stream that were not tuned on yet; they are probed too, if they have classes.
            cost: what training has cost so far.
            probing: whether to fit linear probes.
            restoring: whether a model whose BatchNorm statistics have changed is also measured with the
                pre-trained ones.
        """
        started = time.perf_counter()
        pretrained = after is None
        pending = [task for task in self.tasks if task.name in untuned and task.labels is not None]
        probed = [*self.probes, *pending] if probing else []
        restored = restoring and not pretrained and bool(differing(self.model, self._pretrained_weights))
        total = (1 + restored) * (len(self.tasks) + len(self.suites)) + len(probed)
        with bar(f"evaluating {'row 0' if pretrained else after}", total) as advance, torch.no_grad():
            self.model.eval()
            self._trunk_moved = self._has_moved()
            self._embeddings = dict.fromkeys((experience.name, "test") for experience in probed)
            self._pooled = None if pretrained else {depth: [] for depth in self.model.depths}
            scores = self._all_scores(pretrained, advance)
            pooled, self._pooled = self._pooled, None
            self.row_items = dict(self.items)
            probes = {}
            for experience in probed:
                probes[experience.name] = self._probe(experience, pretrained)
                advance(1, f"probe {experience.name}")
            self._embeddings = {}
            again = self._restored(advance) if restored else None
        row = Row(
            after=after,
            tasks=scores.tasks,
            suites=scores.suites,
            probes=probes,
            drift=Drift() if pooled is None else self._drift(pooled),
            restored=again,
        )
        cost.evaluation_seconds += time.perf_counter() - started
        return row.model_copy(update={"cost": cost.model_copy()})

    def _all_scores(self, pretrained: bool, advance: Callable[[int, str], None]) -> Measured:
        """Every task and suite."""

        def of(experiences: Sequence[Experience]) -> dict[str, TaskScores]:
            found = {}
            for experience in experiences:
                found[experience.name] = self._scores(experience, pretrained)
                advance(1, experience.name)
            return found

        return Measured(tasks=of(self.tasks), suites=of(self.suites))

    def _restored(self, advance: Callable[[int, str], None]) -> Measured:
        """The same with the pre-trained model's BatchNorm statistics, the weights as they are."""
        moved = self._trunk_moved
        with put_back(self.model, self._pretrained_weights):
            self._trunk_moved = self._has_moved()
            found = self._all_scores(False, advance)
        self._trunk_moved = moved
        return found

    def scores(self, experience: Experience, split: str) -> Scores:
        """One pass of the model as it is over one data set of an experience."""
        self.model.eval()
        self._trunk_moved = self._has_moved()
        with torch.no_grad():
            return self._split_scores(experience, split, pretrained=False)

    def _scores(self, experience: Experience, pretrained: bool) -> TaskScores:
        by_split = {
            split: self._split_scores(experience, split, pretrained)
            for split in experience.splits()
            if split != "train"
        }
        return TaskScores(
            validation=by_split["validation"],
            test=by_split["test"],
            shifted={name: by_split[name] for name in experience.shifted},
        )

    def _split_scores(self, experience: Experience, split: str, pretrained: bool) -> Scores:
        if isinstance(experience.splits()[split], MeasuredData):
            data = self.data(experience, split)
            assert isinstance(data, MeasuredData), "a part of what measures itself does so, too"
            return data.measure(self.model, self.batch_size)
        samples = self.prepared(experience, split)
        if samples.experience.labels is None:
            scores, self.items[experience.name, split] = text_scores(
                self.model, self.base, self.cache, samples, self.batch_size, pretrained
            )
            return scores
        base = self._base_outputs(samples)
        now = base if pretrained else self._outputs(samples)
        if (experience.name, split) in self._embeddings:
            self._embeddings[experience.name, split] = now.embedding
        divergence = self._divergence(experience, base, now)
        known = self.base.model.can_answer(experience)
        if not (known if pretrained else self.model.can_answer(experience)):
            return Scores(kl_to_base=divergence, samples=len(samples))
        assert samples.targets is not None and experience.labels is not None
        stays = experience.labels.head == OWN_ANSWERS
        targets = base.logits.argmax(1).cpu() if stays else samples.targets
        predicted = now.logits.argmax(1).cpu()
        correct = (predicted == targets).numpy()
        if stays:  # whose classes are not those of the data
            self.items[experience.name, split] = Items(right=correct)
            lost = float((~correct).mean())
            return Scores(
                accuracy=1 - lost, kl_to_base=divergence, samples=len(samples), lost=lost, gained=0.0,
                choices=float(now.logits.shape[1]),
            )  # fmt: skip
        self.items[experience.name, split] = Items(right=correct, predicted=predicted.numpy())
        before = (base.logits.argmax(1).cpu() == targets).numpy()
        confidence = now.logits.softmax(1).amax(1).cpu().numpy()
        hardest = metrics.hardest_decile_accuracy(base.losses.cpu().numpy(), correct) if known else None
        return Scores(
            accuracy=float(correct.mean()),
            loss=float(now.losses.double().mean()),
            ece=metrics.expected_calibration_error(confidence, correct),
            hardest_decile_accuracy=hardest,
            kl_to_base=divergence,
            samples=len(samples),
            lost=float((before & ~correct).mean()) if known else None,
            gained=float((~before & correct).mean()) if known else None,
            choices=float(now.logits.shape[1]),
        )

    def _divergence(self, experience: Experience, base: Outputs, now: Outputs) -> float | None:
        """Mean KL to base in nats, over the classes of the model's own head where it has one; None without a head."""
        before, after = self._own_logits(self.base.model, base), self._own_logits(self.model, now)
        if before is None or after is None:
            if not (self.base.model.can_answer(experience) and self.model.can_answer(experience)):
                return None
            before, after = base.logits, now.logits
        return float(metrics.kl_divergence(before.cpu().numpy(), after.cpu().numpy()).mean())

    @staticmethod
    def _own_logits(model: FoundationModel, outputs: Outputs) -> Tensor | None:
        return model.own_logits(outputs.embedding.to(model.device))

    def _probe(self, experience: Experience, pretrained: bool) -> ProbeScores:
        train, test = self._probe_data(experience), self.prepared(experience, "test")
        outputs = self._base_outputs if pretrained else self._outputs
        known = self._embeddings.get((experience.name, "test"))
        assert train.targets is not None and test.targets is not None and experience.labels is not None
        return probe_accuracy(
            outputs(train).embedding,
            train.targets,
            outputs(test).embedding if known is None else known,
            test.targets,
            len(experience.labels.classes),
            grid=self.probe_grid,
        )

    def _probe_data(self, experience: Experience) -> Prepared:
        """What a probe is fitted on: the training data, cut down with everything else."""
        data = experience.train
        if data is None or self.limit is None or len(data) <= PROBE_SHARE * self.limit:
            return self.prepared(experience, "train")
        key = (experience.name, "probe")
        if key not in self._prepared:
            chosen = balanced(data.labels, PROBE_SHARE * self.limit, experience.name, "probe")
            self._prepared[key] = self.base.model.prepare(data.subset(chosen), experience, "train")
        return self._prepared[key]

    def _has_moved(self) -> bool:
        """Whether anything but the tasks' heads differs from the pre-trained model."""
        heads = {name for task in self.tasks for name in self.model.head_parameters(task)}
        return any(
            not torch.equal(tensor, self._pretrained_weights[name])
            for name, tensor in self.model.state_dict().items()
            if name not in heads and name in self._pretrained_weights  # a head's random features are not
        )

    def _base_outputs(self, samples: Prepared) -> Outputs:
        """What the cache says of them; read from it once, where it maps files and holds nothing in memory."""
        if samples in self._base_known:
            return self._base_known[samples]
        fields = ["logits", "losses", "embedding"]
        found, refused = self.cache.stored(self.base, samples, fields, self.batch_size)
        if refused:
            found = self.cache.outputs(self.base, samples, fields, self.batch_size)
        outputs = Outputs(found["logits"], found["losses"], found["embedding"])
        if not refused:
            self._base_known[samples] = outputs
        return outputs

    def _outputs(self, samples: Prepared) -> Outputs:
        if not self._trunk_moved and not self.model.head_parameters(samples.experience):
            return self._base_outputs(samples)
        if self._trunk_moved:
            passes = [self._pass(batch) for batch in samples.batches(self.batch_size)]
        else:  # as after a linear probe: the embeddings are those of the base
            known = self._base_outputs(samples).embedding
            passes = [
                self.model(batch, embedding=known[batch.indices].to(self.model.device))
                for batch in samples.batches(self.batch_size)
            ]
        return Outputs(
            torch.cat([out.logits for out in passes]),
            torch.cat([out.per_sample(out.unit_losses()) for out in passes]),
            torch.cat([out.embedding for out in passes]).cpu(),
        )

    def sampled_kl(self, count: int = 32) -> float:
        """Mean KL(p_θ0 ‖ p_θ) on a few validation samples, nats: cheap enough to be taken during training.

        Args:
            count: how many samples of the first suite (or task) that the model itself reads, always the same, spread
                evenly over its data.
        """
        batch, known = self._sampled(count)
        with self._glancing():
            forward = self.model(batch)
            own = self.model.own_logits(forward.embedding)
            base = teacher({field: rows.to(forward.logits.device) for field, rows in known.items()})
            divergence = forward.per_sample(base.kl(forward.logits if own is None else own).clamp_min(0))
        return float(divergence.double().mean())

    def _sampled(self, count: int) -> tuple[Batch, dict[str, Tensor]]:
        """A few samples, and what the pre-trained model says of them; found once, as the cache may have no room."""
        if count not in self._samples_of_kl:
            samples = self._drift_data()
            batch = samples.batch(torch.linspace(0, len(samples) - 1, min(count, len(samples))).long())
            fields = ["embedding"] if self.model.pretrained_head else teacher_fields(self.model.top_logits)
            known = self.cache.outputs(self.base, samples, fields, self.batch_size)
            rows = unit_rows(batch, known.get("offsets", torch.arange(len(samples) + 1)))
            found = {field: known[field][rows] for field in fields}
            if self.model.pretrained_head:
                own = self.base.model.own_logits(found["embedding"].to(self.model.device))
                assert own is not None, "it has that head"
                found = {"logits": own}
            self._samples_of_kl[count] = batch, found
        return self._samples_of_kl[count]

    def sampled_accuracy(self, experiences: Sequence[Experience], count: int = 128) -> float:
        """Mean accuracy on a few validation samples of each experience, cheap enough to be taken during training.

        Texts count the response tokens that the model would have chosen.

        Args:
            experiences: tasks or suites of this evaluation; at least one.
            count: how many samples of each, always the same, spread evenly over its data.
        """
        shares = []
        with self._glancing():
            for experience in experiences:
                samples = self.prepared(experience, "validation")
                chosen = torch.linspace(0, len(samples) - 1, min(count, len(samples))).long()
                right = seen = 0
                for part in chosen.split(self.batch_size):
                    batch = samples.batch(part)
                    targets = batch.targets
                    if experience.labels is not None and experience.labels.head == OWN_ANSWERS:
                        known = self._base_outputs(samples).logits[part]
                        targets = known.argmax(1).to(targets.device)
                    right += int((self.model(batch).logits.argmax(1) == targets).sum())
                    seen += len(batch.targets)
                shares.append(right / seen)
        return sum(shares) / len(shares)

    @contextlib.contextmanager
    def _glancing(self) -> Iterator[None]:
        """The model in evaluation mode, and afterwards in the one it was in."""
        with evaluating(self.model), torch.no_grad():
            yield

    def _pass(self, batch: Batch) -> Forward:
        """One pass, which keeps the pooled features of the data that drift is taken on, if they are asked for."""
        forward: Forward
        if self._pooled is None or batch.samples is not self._drift_data():
            forward = self.model(batch)
            return forward
        forward = self.model(batch, self.model.depths)
        for depth, parts in self._pooled.items():
            parts.append(forward.features[depth].mean(1).cpu())
        return replace(forward, features={})

    def _drift_data(self) -> Prepared:
        """The validation data of the first suite, or task, that the model itself reads."""
        readable = [e for e in (*self.suites, *self.tasks) if not isinstance(e.validation, MeasuredData)]
        return self.prepared(readable[0], "validation")

    def _drift(self, pooled: dict[str, list[Tensor]]) -> Drift:
        """Distances from the pre-trained model.

        Args:
            pooled: depth -> (batch, width) features of each batch, as far as the passes of the row have left them.
        """
        samples = self._drift_data()
        fields = [f"pooled/{depth}" for depth in pooled]
        reference = self.cache.outputs(self.base, samples, fields, self.batch_size)
        count = min(len(samples), DRIFT_SAMPLES)
        if not all(pooled.values()):  # no pass was needed, or it was one over texts
            pooled = self._pool(samples, count)
        moved = feature_drift(
            {depth: torch.cat(parts)[:count] for depth, parts in pooled.items()},
            {depth: reference[f"pooled/{depth}"][:count] for depth in pooled},
        )
        heads = {name for task in self.tasks for name in self.model.head_parameters(task)}
        weights = {name: p.detach() for name, p in self.model.named_parameters() if name not in heads}
        distance = weight_distance(weights, self._pretrained_weights, self.model.block_of)
        return moved.model_copy(update={"weight_distance": distance})

    def _pool(self, samples: Prepared, count: int) -> dict[str, list[Tensor]]:
        """The pooled features of each batch until `count` samples are seen."""
        pooled: dict[str, list[Tensor]] = {depth: [] for depth in self.model.depths}
        seen = 0
        with torch.no_grad():
            for batch in samples.batches(self.batch_size):
                features = self.model(replace(batch, headless=True), list(pooled)).features
                for depth, parts in pooled.items():
                    parts.append(features[depth].mean(1).cpu())
                seen += len(batch)
                if seen >= count:
                    break
        return pooled

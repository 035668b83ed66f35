"""The frozen-model cache: computed once, shared, checked, bounded, and equal to running the model."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared
from cl_forget.streams.base import Data, Experience, ImageData, LabelSpace
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs, _outputs, _store

SAMPLES = 40
IMAGE_FIELDS = ["logits", "embedding", "losses", "unit_losses", "features/one", "pooled/two"]
TOKEN_FIELDS = ["logits", "embedding", "losses", "unit_losses", "features/embed", "pooled/embed"]


def image_experience(name: str = "digits", head: str | None = None) -> Experience:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, SAMPLES)
    data = ImageData(labels, array=generator.integers(0, 256, (SAMPLES, 3, 8, 8), dtype=np.uint8))
    return Experience(name, LabelSpace(head or name, tuple("abcde")), data, data, data)


class Images(Prepared):
    def __init__(self, data: ImageData, experience: Experience, augment: str, dtype: torch.dtype) -> None:
        self.experience, self.split, self.key = experience, "train", data.fingerprint
        self.deterministic = augment == "none"
        self.pixels = torch.from_numpy(data.array).to(dtype) / 255
        self.targets = torch.from_numpy(data.labels)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        pixels = self.pixels[indices]
        if not self.deterministic:
            pixels = pixels + torch.randn(pixels.shape, generator=generator, dtype=pixels.dtype)
        return Batch(pixels, self.targets[indices], indices, self)


class ImageModel(FoundationModel):
    """Two patches per image row, two layers, one head per experience."""

    spec = "test-images"
    depths = ("one", "two")
    default_depths = depths
    blocks = 2

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(48, 16), nn.Linear(16, 16)
        self.heads = nn.ModuleDict()
        self.drop = nn.Dropout(0.5)
        self.calls: list[int] = []

    def prepare(self, data: Data, experience: Experience, split: str, augment: str = "none") -> Images:
        return Images(data, experience, augment, self.one.weight.dtype)

    def add_task(self, experience: Experience) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.heads[experience.labels.head] = nn.Linear(16, 5).to(self.one.weight.dtype)

    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        self.calls.append(len(batch))
        one = self.drop(self.one(batch.inputs.reshape(len(batch), 4, 48)).tanh())
        two = self.two(one).tanh()
        embedding = two.mean(1)
        logits = self.heads[batch.samples.experience.labels.head](embedding)
        features = {"one": one, "two": two}
        return Forward(logits, batch.targets, embedding, {depth: features[depth] for depth in depths})

    def tunable(self, experience: Experience) -> list[str]:
        return [name for name, _ in self.named_parameters()]

    def head_parameters(self, experience: Experience) -> list[str]:
        return [f"heads.{experience.labels.head}.{kind}" for kind in ("weight", "bias")]

    def block_of(self, parameter: str) -> int | None:
        return {"one": 0, "two": 1}.get(parameter.split(".")[0])


class Texts(Prepared):
    """Sequences of six tokens; sample i answers for its last i % 4 tokens, so some have no unit."""

    def __init__(self, experience: Experience) -> None:
        self.experience, self.split, self.key = experience, "train", "texts"
        self.tokens = torch.randint(0, 11, (SAMPLES, 6), generator=torch.Generator().manual_seed(0))
        self.shuffle_units = False
        self.asked: int | None = None  # the same number of units for every sample

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        tokens = self.tokens[indices]
        units = indices % 4 if self.asked is None else torch.full_like(indices, self.asked)
        asked = torch.arange(6) >= 6 - units[:, None]
        rows, columns = asked.nonzero(as_tuple=True)
        if self.shuffle_units:  # interleaved rows, the order within a row kept
            order = torch.argsort(columns, stable=True)
            rows, columns = rows[order], columns[order]
        return Batch((tokens, rows, columns), tokens[rows, columns], indices, self, rows)


class TokenModel(FoundationModel):
    spec = "test-tokens"
    depths = ("embed",)
    default_depths = depths
    blocks = 0

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = nn.Embedding(11, 8)
            self.head = nn.Linear(8, 11)

    def prepare(self, data: Data, experience: Experience, split: str, augment: str = "none") -> Texts:
        return Texts(experience)

    def add_task(self, experience: Experience) -> None:
        pass

    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        tokens, rows, columns = batch.inputs
        hidden = self.embed(tokens)
        logits = self.head(hidden[rows, columns - 1])
        return Forward(logits, batch.targets, hidden.mean(1), dict.fromkeys(depths, hidden), rows)

    def tunable(self, experience: Experience) -> list[str]:
        return [name for name, _ in self.named_parameters()]

    def head_parameters(self, experience: Experience) -> list[str]:
        return []

    def block_of(self, parameter: str) -> int | None:
        return None


def image_world(dtype: torch.dtype = torch.float32, augment: str = "none") -> tuple[FrozenModel, Images]:
    experience = image_experience()
    model = ImageModel().to(dtype)
    model.add_task(experience)
    return FrozenModel(model), model.prepare(experience.train, experience, "train", augment)


def text_world() -> tuple[FrozenModel, Texts]:
    model = TokenModel()
    data = Data()
    data.labels = np.zeros(SAMPLES, dtype=np.int64)
    return FrozenModel(model), model.prepare(data, Experience("text", None, data, data, data), "train")


def entries(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def field_file(root: Path, field: str) -> Path:
    return next(path for path in root.glob("*/*.npy") if path.name.startswith(field.replace("/", "-")))


def read_and_compare(
    outputs: FrozenOutputs, frozen: FrozenModel, batch: Batch, fields: list[str], tolerance: float
) -> None:
    cached, online = outputs.read(batch, "pretrained", fields), frozen.run(batch, fields)
    assert list(cached) == fields
    for field in fields:
        assert cached[field].dtype == online[field].dtype
        torch.testing.assert_close(cached[field], online[field], rtol=0, atol=tolerance, equal_nan=True)


# -- the frozen model ------------------------------------------------------------------------------------
def test_a_frozen_model_is_a_copy_in_eval_mode_without_gradients() -> None:
    experience = image_experience()
    model = ImageModel().train()
    model.add_task(experience)
    samples = model.prepare(experience.train, experience, "train")
    frozen = FrozenModel(model)
    with torch.no_grad():
        model.one.weight.zero_()
    batch = samples.batch(torch.tensor([3, 1]))
    out = frozen.run(batch, ["logits", "pooled/one", "features/one"])
    assert model.training and model.one.weight.requires_grad
    assert not out["logits"].requires_grad
    assert out["features/one"].count_nonzero() == out["features/one"].numel()  # no dropout, weights as before
    torch.testing.assert_close(out["pooled/one"], out["features/one"].mean(1))
    assert frozen.samples_run == 2


def test_autocast_around_a_step_does_not_change_the_teacher() -> None:
    frozen, samples = image_world()
    batch = samples.batch(torch.arange(8))
    outside = frozen.run(batch, ["logits"])["logits"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = frozen.run(batch, ["logits"])["logits"]
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("field", ["logit", "features/three", "features"])
def test_an_unknown_field_is_named(field: str) -> None:
    frozen, samples = image_world()
    with pytest.raises(ValueError, match=r"three|unknown field"):
        frozen.run(samples.batch(torch.arange(2)), [field])


def test_the_fingerprint_is_of_weights_and_architecture() -> None:
    experience = image_experience()
    model = ImageModel()
    model.add_task(experience)
    same = FrozenModel(model).fingerprint(experience)
    assert FrozenModel(model).fingerprint(experience) == same
    frozen = FrozenModel(model)
    frozen.model.drop = nn.Dropout(0.25)
    assert frozen.fingerprint(experience) != same
    with torch.no_grad():
        model.two.bias[0] += 1e-7
    assert FrozenModel(model).fingerprint(experience) != same
    frozen = FrozenModel(model, copy=False)
    before = frozen.fingerprint(experience)
    with torch.no_grad():
        model.two.bias[0] += 1
    assert frozen.fingerprint(experience) != before  # memoised, but not for other weights


def test_heads_of_other_experiences_leave_the_fingerprint_alone() -> None:
    mine, other = image_experience("digits"), image_experience("clocks")
    model = ImageModel()
    model.add_task(mine)
    alone = FrozenModel(model, [mine]).fingerprint(mine)
    model.add_task(other)
    with torch.no_grad():
        model.heads["clocks"].bias += 1
    both = FrozenModel(model, [mine, other])
    assert both.fingerprint(mine) == alone
    assert both.fingerprint(other) != alone
    with torch.no_grad():
        model.heads["digits"].bias += 1
    assert FrozenModel(model, [mine, other]).fingerprint(mine) != alone


# -- cached and online agree -----------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_cached_images_equal_online(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    frozen, samples = image_world(dtype)
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    for indices in ([5, 3, 3, 39, 0], [7]):
        read_and_compare(outputs, frozen, samples.batch(torch.tensor(indices)), IMAGE_FIELDS, tolerance)


def test_half_precision_models_are_kept_in_float32(tmp_path: Path) -> None:
    frozen, samples = image_world(torch.bfloat16)
    out = FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])
    assert out["logits"].dtype == torch.float32
    assert torch.equal(out["logits"], frozen.run(samples.batch(torch.arange(SAMPLES)), ["logits"])["logits"])


@pytest.mark.parametrize("shuffle", [False, True])
def test_ragged_units_are_gathered_in_batch_order(tmp_path: Path, shuffle: bool) -> None:
    frozen, samples = text_world()
    cache = FrozenCache(tmp_path)
    cache.outputs(frozen, samples, TOKEN_FIELDS, batch_size=7)
    done = frozen.samples_run
    samples.shuffle_units = shuffle
    outputs = FrozenOutputs(cache, {"pretrained": frozen})
    for indices in ([6, 3, 3, 39, 0, 4], [7], [0], [4, 8]):
        batch = samples.batch(torch.tensor(indices))
        outputs.read(batch, "pretrained", TOKEN_FIELDS)
        assert frozen.samples_run == done
        read_and_compare(outputs, frozen, batch, TOKEN_FIELDS, 1e-6)
        done = frozen.samples_run


def test_one_unit_per_sample_in_another_order_is_no_exception(tmp_path: Path) -> None:
    frozen, samples = text_world()
    samples.asked = 1
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    batch = samples.batch(torch.tensor([3, 0]))
    (tokens, rows, columns), backwards = batch.inputs, torch.tensor([1, 0])
    batch.inputs, batch.sample_of_unit = (tokens, rows[backwards], columns[backwards]), rows[backwards]
    batch.targets = batch.targets[backwards]
    read_and_compare(outputs, frozen, batch, TOKEN_FIELDS, 1e-6)


def test_features_whose_length_changes_go_online(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frozen, samples = text_world()
    forward, lengths = frozen.model.forward, iter([6, 5])

    def padded(batch: Batch, depths: Sequence[str] = ()) -> Forward:
        out, length = forward(batch, depths), next(lengths)
        out.features = {depth: value[:, :length] for depth, value in out.features.items()}
        return out

    frozen.model.forward = padded
    found, refused = FrozenCache(tmp_path).stored(
        frozen, samples, ["features/embed", "logits"], batch_size=20
    )
    assert list(refused) == ["features/embed"] and "logits" in found
    assert "its shape changes from batch to batch" in caplog.text


def test_whole_set_outputs_of_ragged_data_come_with_offsets(tmp_path: Path) -> None:
    frozen, samples = text_world()
    kept = FrozenCache(tmp_path).outputs(frozen, samples, ["logits"], batch_size=9)
    in_memory = FrozenCache(None, max_bytes=100).outputs(frozen, samples, ["logits"], batch_size=9)
    assert kept.keys() == in_memory.keys() == {"logits", "offsets"}
    for name in kept:
        assert torch.equal(kept[name], in_memory[name])
    for i in (0, 3, 38):
        mine = kept["logits"][kept["offsets"][i] : kept["offsets"][i + 1]]
        torch.testing.assert_close(mine, frozen.run(samples.batch(torch.tensor([i])), ["logits"])["logits"])


def test_a_batch_with_other_units_than_the_cached_ones_is_refused(tmp_path: Path) -> None:
    frozen, samples = text_world()
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    batch = samples.batch(torch.tensor([2, 3]))
    batch.sample_of_unit = batch.sample_of_unit[:-1]
    with pytest.raises(ValueError, match="has 4 units, its samples had 5"):
        outputs.read(batch, "pretrained", ["logits"])


def test_data_without_any_unit_can_be_kept(tmp_path: Path) -> None:
    frozen, samples = text_world()
    samples.tokens = samples.tokens[:1]  # sample 0 has no unit
    assert FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])["logits"].shape == (0, 11)


# -- computed once ---------------------------------------------------------------------------------------
def test_one_pass_computes_everything_requested(tmp_path: Path) -> None:
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path)
    outputs = FrozenOutputs(cache, {"pretrained": frozen, "previous": frozen})
    outputs.request("pretrained", ["logits", "features/one"])
    outputs.request("previous", ["losses", "logits"])
    seen: list[tuple[int, int]] = []
    outputs.prefetch(samples, progress=lambda done, total: seen.append((done, total)))
    assert frozen.model.calls == [SAMPLES] and seen == [(SAMPLES, SAMPLES)]
    batch = samples.batch(torch.tensor([1, 2]))
    for anchor in ("pretrained", "previous"):
        outputs.read(batch, anchor, ["logits", "features/one", "losses"])
    cache.outputs(frozen, samples, ["logits", "losses"])
    assert frozen.samples_run == SAMPLES
    cache.outputs(frozen, samples, ["logits", "embedding"])
    assert frozen.samples_run == 2 * SAMPLES  # the missing field only
    read = FrozenCache(tmp_path).outputs(FrozenModel(frozen.model), samples, ["embedding", "logits"])
    assert frozen.samples_run == 2 * SAMPLES and read["logits"].shape == (SAMPLES, 5)


def test_prefetch_shows_a_bar_only_while_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    @contextlib.contextmanager
    def bar(description: str, total: int, unit: str) -> Any:
        shown.append((description, total, unit))
        yield lambda advance, text: shown.append(advance)

    monkeypatch.setattr(_outputs, "bar", bar)
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path)
    for _ in range(2):
        outputs = FrozenOutputs(cache, {"pretrained": frozen})
        outputs.request("pretrained", ["logits"])
        outputs.prefetch(samples)
    assert shown == [("pretrained model on digits", SAMPLES, "samples"), SAMPLES]


def test_another_model_data_set_or_label_space_is_another_entry(tmp_path: Path) -> None:
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path)
    cache.outputs(frozen, samples, ["embedding"])
    samples.key = "other"
    cache.outputs(frozen, samples, ["embedding"])
    samples.experience = image_experience("renamed", head="digits")
    cache.outputs(frozen, samples, ["embedding"])  # a name alone changes nothing
    assert len(entries(tmp_path)) == 2
    with torch.no_grad():
        frozen.model.one.weight += 1
    cache.outputs(frozen, samples, ["embedding"])
    assert len(entries(tmp_path)) == 3


def _compete(root: Path, barrier: Any, runs: Any) -> None:
    torch.set_num_threads(1)
    frozen, samples = image_world()
    barrier.wait()
    out = FrozenCache(root).outputs(frozen, samples, IMAGE_FIELDS, batch_size=3)
    runs.put((frozen.samples_run, float(out["logits"].sum())))


def test_two_processes_compute_once_and_a_third_reads(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, runs = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_compete, args=(tmp_path, barrier, runs)) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [runs.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in answers) == [0, SAMPLES]
    frozen, samples = image_world()
    out = FrozenCache(tmp_path).outputs(frozen, samples, IMAGE_FIELDS)
    assert frozen.samples_run == 0
    assert {total for _, total in answers} == {float(out["logits"].sum())}
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_writers_are_safe_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "fcntl", None)
    worlds = [image_world() for _ in range(2)]
    barrier = threading.Barrier(2)
    for frozen, _ in worlds:
        forward = frozen.model.forward
        frozen.model.forward = lambda *a, forward=forward, **k: (barrier.wait(10), forward(*a, **k))[1]
    threads = [
        threading.Thread(target=FrozenCache(tmp_path).outputs, args=(*world, IMAGE_FIELDS))
        for world in worlds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [frozen.samples_run for frozen, _ in worlds] == [SAMPLES, SAMPLES]
    frozen, samples = image_world()
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    outputs.read(samples.batch(torch.arange(4)), "pretrained", IMAGE_FIELDS)
    assert frozen.samples_run == 0


def test_what_a_killed_writer_left_is_swept_up(tmp_path: Path) -> None:
    frozen, samples = image_world()
    FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])
    (entry,) = entries(tmp_path)
    (entry / "0123.tmp").write_bytes(b"half")
    FrozenCache(tmp_path).outputs(frozen, samples, ["embedding"])
    assert not list(tmp_path.rglob("*.tmp"))


# -- damage ----------------------------------------------------------------------------------------------
def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _other_header(path: Path) -> None:
    np.save(path, np.zeros((SAMPLES, 5), dtype=np.float32))


@pytest.mark.parametrize("damage", [_flip, _truncate, _other_header, Path.unlink])
def test_a_damaged_file_is_computed_again(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    frozen, samples = image_world()
    expected = FrozenCache(tmp_path).outputs(frozen, samples, ["logits", "embedding"])["logits"].clone()
    damage(field_file(tmp_path, "logits"))
    out = FrozenCache(tmp_path).outputs(frozen, samples, ["logits", "embedding"])
    assert torch.equal(out["logits"], expected)
    assert frozen.samples_run == 2 * SAMPLES
    assert caplog.text.count("is damaged") == 1
    again = FrozenModel(frozen.model)
    FrozenCache(tmp_path).outputs(again, samples, ["logits", "embedding"])
    assert again.samples_run == 0


def test_per_unit_fields_without_their_offsets_are_computed_again(tmp_path: Path) -> None:
    frozen, samples = text_world()
    expected = FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])["logits"].clone()
    _truncate(field_file(tmp_path, "offsets"))
    out = FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])
    assert torch.equal(out["logits"], expected) and out["offsets"][-1] == len(expected)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"fields": 3}', '{"fields": {"logits": 3}}', "\x00\xff"]
)
def test_a_damaged_manifest_is_written_again(tmp_path: Path, text: str) -> None:
    frozen, samples = image_world()
    expected = FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])["logits"].clone()
    (entry,) = entries(tmp_path)
    (entry / "manifest.json").write_text(text, encoding="latin-1")
    assert torch.equal(FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])["logits"], expected)
    assert frozen.samples_run == 2 * SAMPLES
    assert json.loads((entry / "manifest.json").read_text())["fields"]["logits"]["shape"] == [SAMPLES, 5]


def test_files_are_plain_npy(tmp_path: Path) -> None:
    frozen, samples = image_world()
    out = FrozenCache(tmp_path).outputs(frozen, samples, ["features/one"])
    loaded = np.load(field_file(tmp_path, "features/one"), allow_pickle=False)
    assert np.array_equal(loaded, out["features/one"].numpy())


# -- size ------------------------------------------------------------------------------------------------
def test_the_entry_used_longest_ago_is_evicted(tmp_path: Path) -> None:
    frozen, samples = image_world()
    one_entry = SAMPLES * 4 * 16 * 4 + 2000
    cache = FrozenCache(tmp_path, max_bytes=3 * one_entry)
    for number in range(3):
        samples.key = f"set {number}"
        cache.outputs(frozen, samples, ["features/one"])
    samples.key = "set 0"
    cache.outputs(frozen, samples, ["features/one"])
    for number in range(3):  # set 1 is now the oldest by far
        samples.key = f"set {number}"
        manifest = cache._entry(frozen, samples) / "manifest.json"
        _set_age(manifest, {0: 10, 1: 30, 2: 20}[number])
    samples.key = "set 3"
    cache.outputs(frozen, samples, ["features/one"])
    done = frozen.samples_run
    for number in (0, 2, 3):
        samples.key = f"set {number}"
        cache.outputs(frozen, samples, ["features/one"])
    assert frozen.samples_run == done
    assert len(entries(tmp_path)) == len(list(tmp_path.glob("*.lock"))) == 3
    samples.key = "set 1"
    cache.outputs(frozen, samples, ["features/one"])
    assert frozen.samples_run == done + SAMPLES


def _set_age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_what_is_in_use_is_not_evicted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frozen, samples = image_world()
    one_entry = SAMPLES * 4 * 16 * 4 + 2000
    cache = FrozenCache(tmp_path, max_bytes=int(1.5 * one_entry))
    held = cache.outputs(frozen, samples, ["features/one"])
    samples.key = "second"
    second = cache.outputs(frozen, samples, ["features/one"])
    assert len(entries(tmp_path)) == 1 and "are in use" in caplog.text
    assert torch.equal(held["features/one"], second["features/one"])  # same pixels under another key


def test_an_entry_that_is_being_written_is_not_evicted(tmp_path: Path) -> None:
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path)
    cache.outputs(frozen, samples, ["features/one"])
    (entry,) = entries(tmp_path)
    other = FrozenCache(tmp_path, max_bytes=SAMPLES * 4 * 16 * 4 + 2000)
    samples.key = "second"
    with cache._store.locked(entry):
        other.outputs(frozen, samples, ["features/one"])
        assert entries(tmp_path) == [entry]
    other = FrozenCache(tmp_path, max_bytes=SAMPLES * 4 * 16 * 4 + 2000)
    other.outputs(frozen, samples, ["features/one"])
    assert len(entries(tmp_path)) == 1 and entries(tmp_path) != [entry]


def test_what_does_not_fit_goes_online_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path, max_bytes=5000)
    outputs = FrozenOutputs(cache, {"pretrained": frozen})
    outputs.request("pretrained", ["features/one", "logits"])
    outputs.prefetch(samples)
    done = frozen.samples_run
    batch = samples.batch(torch.tensor([2, 9]))
    read_and_compare(outputs, frozen, batch, ["features/one", "logits"], 1e-6)
    assert frozen.samples_run == done + 2 + 2  # online in `read`, and for the comparison
    assert caplog.text.count("computed online, not cached") == 1
    assert "more than the cache's limit" in caplog.text
    outputs.read(batch, "pretrained", ["logits"])
    assert frozen.samples_run == done + 4  # small fields are cached all the same


def test_a_full_disk_goes_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, rows: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_store.Writer, "append", full)
    frozen, samples = image_world()
    out = FrozenCache(tmp_path).outputs(frozen, samples, ["logits", "losses"], batch_size=9)
    online = frozen.run(samples.batch(torch.arange(SAMPLES)), ["logits", "losses"])
    for field in out:
        torch.testing.assert_close(out[field], online[field])
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.npy"))


def test_an_entry_of_which_nothing_fits_leaves_nothing(tmp_path: Path) -> None:
    frozen, samples = image_world()
    FrozenCache(tmp_path, max_bytes=100).outputs(frozen, samples, ["logits"])
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_model_leaves_nothing_half_written(tmp_path: Path) -> None:
    frozen, samples = image_world()
    forward, batches = frozen.model.forward, iter(range(100))

    def failing(*arguments: Any, **keywords: Any) -> Forward:
        if next(batches) == 2:
            raise OSError("an image is missing")
        return forward(*arguments, **keywords)

    frozen.model.forward = failing
    with pytest.raises(OSError, match="an image is missing"):
        FrozenCache(tmp_path).outputs(frozen, samples, ["logits"], batch_size=9)
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.npy"))


def test_memory_mapped_rows_equal_resident_ones(tmp_path: Path) -> None:
    frozen, samples = image_world()
    cache = FrozenCache(tmp_path)
    batch = samples.batch(torch.tensor([4, 4, 2]))
    both = [
        FrozenOutputs(cache, {"pretrained": frozen}, resident_bytes=room).read(
            batch, "pretrained", IMAGE_FIELDS
        )
        for room in (0, 2**20)
    ]
    for field in IMAGE_FIELDS:
        assert torch.equal(both[0][field], both[1][field])


def test_a_temporary_cache_leaves_nothing() -> None:
    frozen, samples = image_world()
    cache = FrozenCache(None)
    cache.outputs(frozen, samples, ["logits"])
    root = cache._store.root
    assert entries(root)
    del cache
    gc.collect()
    assert not root.exists()


def test_a_cache_folder_that_cannot_be_made_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another one"):
        FrozenCache(tmp_path / "file" / "cache")


# -- online ----------------------------------------------------------------------------------------------
def test_random_augmentation_goes_online_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cl_forget")
    frozen, samples = image_world(augment="shift")
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    outputs.request("pretrained", ["logits", "features/two"])
    outputs.prefetch(samples)
    for seed in range(3):
        batch = samples.batch(torch.arange(6), torch.Generator().manual_seed(seed))
        first = outputs.read(batch, "pretrained", ["logits"])
        second = outputs.read(batch, "pretrained", ["features/two"])  # shares the pass of the first read
        assert frozen.samples_run == 6 * (seed + 1)
        assert torch.equal(first["logits"], frozen.model(batch).logits)
        assert second["features/two"].shape == (6, 4, 16)
    assert caplog.text.count("frozen models run online") == 1
    assert not entries(tmp_path)


def test_outputs_of_augmented_data_are_held_in_memory(tmp_path: Path) -> None:
    frozen, samples = image_world(augment="shift")
    assert FrozenCache(tmp_path).outputs(frozen, samples, ["logits"])["logits"].shape == (SAMPLES, 5)
    assert not entries(tmp_path)


def test_an_unknown_anchor_is_named(tmp_path: Path) -> None:
    frozen, samples = image_world()
    outputs = FrozenOutputs(FrozenCache(tmp_path), {"pretrained": frozen})
    with pytest.raises(ValueError, match="no frozen model 'previous'; there are pretrained"):
        outputs.read(samples.batch(torch.arange(2)), "previous", ["logits"])

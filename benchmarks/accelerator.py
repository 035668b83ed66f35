"""What methods cost on a GPU: one prepared script for a card that is lent for minutes.

    python benchmarks/accelerator.py --json figures.json         two and a half minutes, then it says what is left
    python benchmarks/accelerator.py --small                     the same code with tiny shapes, on any device

A ViT-B-32 and a Llama of a billion parameters, both with random weights: a step costs the same whatever they are.
Forward and backward passes are in bfloat16, ours and those of the bare PyTorch loop, which take turns step by step.
A ratio is that of the median steps, each timed between two synchronisations, after steps that do not count. Peak
memory is what torch allocated during a method's own steps, less what was there before it was set up (the frozen
model, which every run holds, and the bare loop beside it).

Teachers read what was cached ("cached"), or run on every batch ("online"). A teacher, like an evaluation, computes in
single precision. Before all that come short runs of the public functions, each twice, and a process that is held to a
share of the card's memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from cost import BARE, METHODS, PLAIN, Arm, Bench, ten_past_tasks

import cl_forget
from cl_forget.config.run import parse_mitigation
from cl_forget.evaluation.evaluate import Evaluator
from cl_forget.ground.environment import device, forget_peak_memory, peak_memory_mb
from cl_forget.ground.errors import first_line
from cl_forget.ground.failures import failure_of_machine
from cl_forget.ground.files import write_text
from cl_forget.mitigations import Chain
from cl_forget.models.base import FoundationModel
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.zoo.pico_lm.tokenizer import make_tokenizer
from cl_forget.streams import Experience, TextData, text_experience
from cl_forget.sweeps.devices import CONTEXT, hold
from cl_forget.sweeps.work import out_of_memory
from cl_forget.training.context import Task
from cl_forget.training.frozen import FrozenCache, FrozenModel
from cl_forget.training.options import Training

SECTIONS = (
    "share", "runs", "vit", "vit evaluation", "vit compiled", "llama", "llama evaluation", "llama compiled", "rest",
)  # fmt: skip
GIB = 2**30
WARM_UP = 2
ROW_SECONDS = 45
"""A row that takes longer is given up."""
COMPILE_SECONDS = 40
METHODS = {
    **METHODS,
    # What a step costs does not depend on how many samples its importances come from.
    "EWC, 10 past tasks": [{"ewc": {"samples": 32}}],
    "MAS": [{"mas": {"samples": 32}}],
    "ASAM": ["asam"],
    "EAFT, cached": ["eaft"],
    "layer decay": ["layer_decay"],
}
ONLINE = {
    "LDIFS, online": ["ldifs"],
    "KD, online": ["kd"],
    "KL to base, online": ["kl_to_base"],
}
"""Teachers on every batch, as with random augmentation or without room for a cache."""

REST = ("L1-SP", "MAS", "LoRA, rank 8 + weight decay", "ASAM", "layer decay")
"""Of the Llama these come last: they cost what their neighbours in the table do."""
DECOMPOSES = "OSF"
"""It decomposes every matrix, which is no part of a step: last, and of the ViT alone."""


class GivenUp(Exception):
    """A row has taken too long."""


class Figures:
    """Everything measured, written after every row.

    Args:
        file: where to; None for nowhere.
        minutes: after which nothing new is begun.
    """

    def __init__(self, file: Path | None, minutes: float) -> None:
        self.file, self.until = file, time.monotonic() + 60 * minutes
        self.found: dict[str, Any] = {}
        self.skipped: list[str] = []

    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def row(self, section: str, name: str, make: Callable[[], dict[str, Any]], seconds: float) -> None:
        """Measure, print and keep one row; whatever goes wrong is its line, and the next one has its turn."""
        if self.left() < 2:
            self.skipped.append(f"{section}: {name}")
            return
        started = time.monotonic()
        try:
            with at_most(min(seconds, self.left())):
                found = make()
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {first_line(error)}"}
        found["seconds"] = round(time.monotonic() - started, 1)
        self.keep(section, name, found)
        shown = found.get("error") or " | ".join(
            f"{value:.3f}" if isinstance(value, float) else str(value) for value in found.values()
        )
        print(f"| {name} | {shown} |", flush=True)
        tidy()

    def keep(self, section: str, name: str, found: Any) -> None:
        """Write it down."""
        self.found.setdefault(section, {})[name] = found
        if self.file:
            whole = {**self.found, "skipped": self.skipped}
            write_text(self.file, json.dumps(whole, indent=1, default=str))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `GivenUp` inside after so many seconds."""

    def ring(*_: Any) -> None:
        raise GivenUp(f"longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def on_gpu() -> bool:
    return device().startswith("cuda")


def synchronise() -> None:
    if on_gpu():
        torch.cuda.synchronize()


def tidy() -> None:
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()


def allocated() -> int:
    return torch.cuda.memory_allocated() if on_gpu() else 0


def say(title: str, columns: str) -> None:
    print(f"\n{title}\n\n| {columns} |\n|{'---|' * (columns.count('|') + 1)}", flush=True)


# -- models ----------------------------------------------------------------------------------------------


class CardBench(Bench):
    """A bench whose arms share what they only read, so that memory holds more of a large model."""

    def share(self, model: FoundationModel, task: Experience, batch_size: int, **train: Any) -> None:
        """Set what the arms share; the frozen model is the model itself, which nobody trains."""
        self.model, self.task = model, task
        model.add_task(task)
        self.train = Training(epochs=1000, batch_size=batch_size, **train)
        self.cached, self.uncached = FrozenCache(None), FrozenCache(None, max_bytes=0)
        self.cache = self.cached
        self.base = FrozenModel(model, [task], copy=False)

    def context(self) -> Task:
        """A fresh copy of the model; the pre-trained weights are the frozen model's own."""
        task = super().context()
        task.pretrained = task.start = {n: t.detach() for n, t in self.base.model.state_dict().items()}
        return task

    def of(self, name: str) -> Arm:
        """By name: a method of `METHODS`, or one of `ONLINE`."""
        self.cache = self.uncached if name in ONLINE else self.cached
        past = ten_past_tasks if name.startswith(("EWC", "MAS", "SI")) else None
        chain = Chain([parse_mitigation(item) for item in {**METHODS, **ONLINE}.get(name, [])])
        for mitigation in chain:
            mitigation.check(self.model, [self.task])
        return self.arm(chain, past)


class Llama(CardBench):
    """A Llama with random weights, made where it will run.

    Args:
        small: tiny, or the shape of Llama-3.2-1B with a vocabulary of 32,000.
    """

    def __init__(self, small: bool) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = make_tokenizer()
        shape = (64, 2, 4, 2, 128, len(tokenizer)) if small else (2048, 16, 32, 8, 8192, 32_000)
        width, layers, heads, key_heads, inner, vocabulary = shape
        config = LlamaConfig(
            vocab_size=max(vocabulary, len(tokenizer)), hidden_size=width, intermediate_size=inner,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_heads,
            max_position_embeddings=1024, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        torch.manual_seed(0)
        with torch.device(device()):
            lm = LlamaForCausalLM(config)
        batch_size, words = (2, 30) if small else (8, 510)
        self.share(CausalLM(lm, tokenizer), sums(4 * batch_size, words), batch_size, precision="bf16")


def sums(samples: int, tokens: int) -> Experience:
    """Texts of as many tokens each: figures, of which the last three quarters are the response."""
    chance = random.Random(0)
    texts = ["".join(str(chance.randint(0, 9)) for _ in range(tokens)) for _ in range(samples)]
    data = TextData([text[tokens // 4 :] for text in texts], [text[: tokens // 4] for text in texts])
    return text_experience("figures", data, data, data, scoring="perplexity")


def vit(small: bool) -> CardBench:
    spec, batch_size = ("emoji-clip", 8) if small else ("open_clip:ViT-B-32/none", 256)
    return CardBench(spec, batch_size, 4, precision="bf16")


# -- rows ------------------------------------------------------------------------------------------------


class Pair:
    """The bare loop, and one method after the other that takes turns with it."""

    def __init__(self, bench: CardBench, steps: int) -> None:
        self.bench, self.steps = bench, steps
        self.before = allocated()
        self.bare = bench.bare()
        for number in range(WARM_UP):
            self.bare.step(number)
        self.plain_peak: float | None = None

    def row(self, name: str) -> dict[str, Any]:
        """Ratio of the steps, the bare loop's and the method's milliseconds, peak memory and set-up."""
        tidy()
        before = allocated()
        synchronise()
        started = time.perf_counter()
        arm = self.bare if name == BARE else self.bench.of(name)
        synchronise()
        set_up = time.perf_counter() - started
        # LookSAM's steps are of two kinds, of which the median would know one.
        bare, own, peak = self.turns(arm, statistics.mean if "LookSAM" in name else statistics.median)
        peak_gib = (peak - (self.before if name == BARE else before)) / GIB if on_gpu() else None
        if name == PLAIN:
            self.plain_peak = peak_gib
        beyond = None if peak_gib is None or self.plain_peak is None else peak_gib - self.plain_peak
        return {"ratio": own / bare, "bare_ms": 1e3 * bare, "ms": 1e3 * own, "peak_gib": peak_gib,
                "beyond_plain_gib": beyond, "set_up_seconds": set_up}  # fmt: skip

    def turns(self, arm: Arm, typical: Callable[[list[float]], float]) -> tuple[float, float, int]:
        """Seconds of a step of the bare loop and of a method, and the largest memory during the latter's."""
        taken: tuple[list[float], list[float]] = ([], [])
        peak = 0
        for number in range(WARM_UP + self.steps):
            for times, one in zip(taken, (self.bare, arm), strict=True):
                if on_gpu():
                    torch.cuda.reset_peak_memory_stats()
                synchronise()
                started = time.perf_counter()
                one.step(number)
                synchronise()
                times.append(time.perf_counter() - started)
            peak = max(peak, torch.cuda.max_memory_allocated() if on_gpu() else 0)
        bare, own = (typical(times[WARM_UP:]) for times in taken)
        return bare, own, peak


COLUMNS = "method | step, ratio to bare | bare, ms | ms | peak, GiB | beyond plain, GiB | set-up, s | row, s"


def methods(
    figures: Figures, section: str, bench: CardBench, steps: int, names: list[str], title: str
) -> None:
    pair = Pair(bench, steps)
    parameters = sum(p.numel() for p in bench.model.parameters()) / 1e6
    say(f"{title}: {parameters:,.0f} M parameters, batch {bench.train.batch_size}, bf16", COLUMNS)
    for name in names:
        figures.row(section, name, lambda name=name: pair.row(name), ROW_SECONDS)  # type: ignore[misc]


def evaluation(figures: Figures, section: str, bench: CardBench) -> None:
    """Samples per second of our evaluation of a data set, and of nothing but forward passes over it."""
    say(
        "Evaluation, single precision",
        "what | samples per second | bare, samples per second | ratio | row, s",
    )

    def row() -> dict[str, Any]:
        model, batch_size = bench.context().model, bench.train.batch_size
        with torch.no_grad():  # so that it is no longer the frozen model, whose outputs would be read
            next(p for n, p in model.named_parameters() if n in set(model.tunable(bench.task))).mul_(1.001)
        evaluator = Evaluator(model, bench.base, bench.cached, [bench.task], [], [], batch_size)
        samples = evaluator.prepared(bench.task, "test")
        model.eval()

        def bare() -> None:
            with torch.no_grad():
                for batch in samples.batches(batch_size):
                    model(batch).unit_losses().sum().item()

        def timed(once: Callable[[], object]) -> float:
            once()
            synchronise()
            started = time.perf_counter()
            once()
            synchronise()
            return time.perf_counter() - started

        ours, theirs = timed(lambda: evaluator.scores(bench.task, "test")), timed(bare)
        return {
            "per_second": len(samples) / ours,
            "bare_per_second": len(samples) / theirs,
            "ratio": ours / theirs,
        }

    figures.row(section, "test set", row, ROW_SECONDS)


COMPILED = (
    "precision | step, ratio to uncompiled | uncompiled, ms | ms | first step, s | losses differ by | row, s"
)


def compiled(figures: Figures, section: str, bench: CardBench, steps: int) -> None:
    """Our plain loop with its blocks compiled against itself as it is: time, and what it does to the numbers."""
    say("Compiled blocks", COMPILED)
    own = bench.train

    def arm(**changes: Any) -> Arm:
        bench.train = own.model_copy(update=changes)
        try:
            return bench.of(PLAIN)
        finally:
            bench.train = own

    def row(precision: str) -> dict[str, Any]:
        plain, other = arm(precision=precision), arm(precision=precision, compile=True)
        far, first, taken = 0.0, 0.0, ([], [])  # type: ignore[var-annotated]
        for number in range(3 + steps):
            losses = []
            for times, one in zip(taken, (plain, other), strict=True):
                synchronise()
                started = time.perf_counter()
                losses.append(one.step(number) or 0.0)
                synchronise()
                times.append(time.perf_counter() - started)
            far = max(far, abs(losses[1] - losses[0]) / max(1e-9, abs(losses[0])))
            first = first or taken[1][0]
        before, after = (statistics.median(times[3:]) for times in taken)
        torch._dynamo.reset()  # what was compiled for other arms
        return {"ratio": after / before, "plain_ms": 1e3 * before, "ms": 1e3 * after,
                "first_step_seconds": first, "losses_differ": f"{far:.1e}"}  # fmt: skip

    for precision in ("bf16", "float32") if section.startswith("vit") else ("bf16",):
        figures.row(section, precision, lambda p=precision: row(p), COMPILE_SECONDS)  # type: ignore[misc]


def share(figures: Figures, small: bool) -> None:
    """A process held to too small a share of the card: what it is told, and what torch counts."""
    say("Memory", "what | found | row, s")

    def peak() -> dict[str, Any]:
        place, size = torch.device(device()), 64 if small else 1024
        forget_peak_memory()
        before = peak_memory_mb(place)
        block = torch.ones(size * 2**20, dtype=torch.uint8, device=place)
        del block
        during = peak_memory_mb(place) - before
        tidy()
        forget_peak_memory()
        after = peak_memory_mb(place) - before
        return {"found": f"{size} MiB were allocated, {during:.0f} counted, {after:.0f} when forgotten"}

    def held(fits: bool) -> dict[str, Any]:
        total = torch.cuda.get_device_properties(0).total_memory / GIB
        hold(8 / total if fits else 0.7 / total)
        try:
            torch.empty(2 * GIB, dtype=torch.uint8, device=device())
        except RuntimeError as error:
            known = out_of_memory(error)
            return {
                "found": f"refused; recorded as {'out_of_memory' if known else 'failed'}: {first_line(error)}"
            }
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, 0)
        return {"found": "fits"}

    def held_run() -> dict[str, Any]:
        total = torch.cuda.get_device_properties(0).total_memory / GIB
        tidy()
        hold((CONTEXT / 1024 + 0.05) / total)
        try:
            cl_forget.simulate(short_run("emoji-clip"))
        except Exception as error:
            if out_of_memory(error):
                return {"found": f"recorded as out_of_memory; {failure_of_machine(error)}"}
            raise
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, 0)
        return {"found": "the run went through"}

    figures.row("share", "peak memory", peak, ROW_SECONDS)
    if on_gpu():
        figures.row("share", "2 GiB in a share of 8 GiB", lambda: held(True), ROW_SECONDS)
        figures.row("share", "2 GiB in a share of 0.7 GiB", lambda: held(False), ROW_SECONDS)
        figures.row("share", "a run in 50 MiB beside the context", held_run, ROW_SECONDS)


def short_run(model: str, **more: Any) -> Any:
    """Two tasks, a few steps."""
    language = model == "pico-lm"
    return cl_forget.Run.parse(
        {
            "model": model,
            "stream": ["pig-latin", "cipher"] if language else ["braille", "colours"],
            "suites": [] if language else ["emoji"],
            "mitigations": ["l2_sp", "kl_to_base"],
            "train": {"steps": 6, "batch_size": 32, **more},
            "evaluate": {"limit": 64},
        }
    )


def runs(figures: Figures) -> None:
    """The same short run twice: whether it ends, and whether the numbers are the same."""
    say("Short runs, twice with one seed", "run | found | row, s")

    def once(model: str, folder: Path, more: dict[str, Any]) -> tuple[Any, dict[str, torch.Tensor]]:
        kept: dict[str, torch.Tensor] = {}
        result = cl_forget.simulate(short_run(model, **more), folder)
        from safetensors.torch import load_file

        for file in sorted((folder / "checkpoints").rglob("*.safetensors")):
            kept.update(
                {f"{file.relative_to(folder)} {name}": tensor for name, tensor in load_file(file).items()}
            )
        return result, kept

    def row(model: str, more: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as place:
            (one, first), (other, second) = (once(model, Path(place) / str(i), more) for i in range(2))
        if not first:
            return {"found": "no weights were kept to compare"}
        far = max(
            float((first[name].double() - second[name].double()).abs().max())
            for name in first
            if first[name].is_floating_point() and first[name].numel()
        )
        cost = one.rows[-1].cost
        same = one.metrics == other.metrics
        return {
            "found": f"{'same bits' if far == 0 else f'weights differ by up to {far:.1e}'} in {len(first)} tensors, "
            f"{'same' if same else 'other'} metrics; {cost.train_seconds:.1f} s of training, "
            f"peak {cost.peak_memory_mb:,.0f} MiB"
        }

    for model, precision in (("emoji-clip", "float32"), ("pico-lm", "bf16")):
        figures.row(
            "runs",
            f"{model}, {precision}",
            lambda m=model, p=precision: row(m, {"precision": p}),  # type: ignore[misc]
            2 * ROW_SECONDS,
        )


# -- all of it -------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=2.4, help="after which nothing new is begun, imports aside"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each method")
    parser.add_argument("--json", type=Path, help="write the figures there, after every row")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS, help="sections")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ["CL_FORGET_CACHE"] = tempfile.mkdtemp(prefix="cl_forget_")
    figures = Figures(options.json, options.minutes)
    card = torch.cuda.get_device_name() if on_gpu() else "no GPU"
    about = {
        "card": card,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
    }
    print(f"{card}, torch {torch.__version__}, started {time.strftime('%Y-%m-%d %H:%M:%S')}", flush=True)
    figures.keep("about", "machine", about)

    def section(name: str, work: Callable[[], None]) -> None:
        if name in options.only:
            whole(name, work)

    def whole(name: str, work: Callable[[], None]) -> None:
        """Whatever goes wrong, the next section has its turn."""
        if figures.left() < 5:
            figures.skipped.append(name)
            return
        try:
            work()
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {first_line(error)}", flush=True)
            figures.keep(name, "error", first_line(error))
        tidy()

    def model(
        kind: str, title: str, make: Callable[[], CardBench], steps: int, late: tuple[str, ...]
    ) -> None:
        names = [name for name in METHODS if name not in (*late, DECOMPOSES)]
        bench = make()
        section(kind, lambda: methods(figures, kind, bench, steps, [PLAIN, BARE, *ONLINE, *names], title))
        section(f"{kind} evaluation", lambda: evaluation(figures, f"{kind} evaluation", bench))
        section(f"{kind} compiled", lambda: compiled(figures, f"{kind} compiled", bench, steps))

    def rest() -> None:
        methods(figures, "rest of llama", Llama(options.small), few, [PLAIN, *REST], "Llama, the rest")
        tidy()
        methods(figures, "rest of vit", vit(options.small), few, [PLAIN, DECOMPOSES], "ViT-B-32, the rest")

    few = max(5, options.steps // 2)
    section("share", lambda: share(figures, options.small))
    section("runs", lambda: runs(figures))
    if any(name.startswith("vit") for name in options.only):
        whole("vit", lambda: model("vit", "ViT-B-32", lambda: vit(options.small), options.steps, ()))
    if any(name.startswith("llama") for name in options.only):
        whole("llama", lambda: model("llama", "Llama", lambda: Llama(options.small), few, REST))
    section("rest", rest)
    if figures.skipped:
        print(f"\nNo time was left for: {', '.join(figures.skipped)}", flush=True)
    figures.keep("about", "seconds_left", figures.left())
    print(f"\n{figures.left():.0f} s were left", flush=True)


if __name__ == "__main__":
    main()

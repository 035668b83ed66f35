"""Language models: our loop against transformers' Trainer, layouts on uneven lengths, FLOW's pass, decoding.

    python benchmarks/language.py

The model has pico-lm's architecture and tokenizer, with random weights: a step costs the same whatever they
are. What is compared takes turns in one run, on the same model, data and batch size; a ratio is the median over
rounds. Prompts are of uneven length, as texts are: most are short, one in eight is long.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, Chain
from cl_forget.models._answers import decode
from cl_forget.models._texts import PreparedTexts
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.options import TextOptions
from cl_forget.models.zoo.pico_lm.pretrain import Recipe, model_config
from cl_forget.models.zoo.pico_lm.tokenizer import make_tokenizer
from cl_forget.streams import Experience, TextData, text_experience
from cl_forget.training.context import Task
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import FineTune
from cl_forget.training.options import Training

BATCH = 64


def model(options: TextOptions | None = None) -> CausalLM:
    from transformers import LlamaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    return CausalLM(LlamaForCausalLM(model_config(Recipe(), tokenizer)), tokenizer, options)


def texts(samples: int) -> Experience:
    chance = random.Random(0)
    prompts, responses = [], []
    for _ in range(samples):
        words = chance.randint(60, 120) if chance.random() < 1 / 8 else chance.randint(3, 20)
        prompts.append("What is " + "+".join(str(chance.randint(0, 9)) for _ in range(words // 2)) + "?")
        responses.append(str(chance.randint(0, 999)))
    data = TextData(responses, prompts)
    return text_experience("uneven sums", data, data, data)


def timed(once: Callable[[], Any]) -> float:
    started = time.perf_counter()
    once()
    return time.perf_counter() - started


def ratio(rounds: int, one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float, float]:
    """Median times of both and the median of their ratio, taking turns."""
    one(), other()  # warm up
    pairs = [(one(), other()) for _ in range(rounds)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


# -- what is compared ------------------------------------------------------------------------------------


def our_steps(lm: CausalLM, task: Experience, steps: int) -> Callable[[], float]:
    """Seconds per step of our loop."""
    tuned = copy.deepcopy(lm)
    samples = tuned.prepare(task.train, task, "train")  # type: ignore[arg-type]
    base = FrozenModel(lm)
    weights = {name: value.detach().clone() for name, value in tuned.state_dict().items()}
    frozen = FrozenOutputs(FrozenCache(None), {"pretrained": base, "previous": base})
    context = Task(tuned, (task,), 0, [samples], [samples], [], weights, weights, frozen, 0, 10**6, BATCH)
    train = Training(epochs=1000, batch_size=BATCH, schedule="constant", warmup=0)
    loop = FineTune(context, Chain(), train, Cost(), lambda record: None)
    loop.set_up()
    tuned.train()
    number = 0

    def run() -> float:
        nonlocal number
        order = torch.randperm(len(samples)).split(BATCH)
        started = time.perf_counter()
        for indices in order[:steps]:
            loop.step(number, (samples, indices))
            number += 1
        return (time.perf_counter() - started) / steps

    return run


def trainer_steps(lm: CausalLM, task: Experience, steps: int) -> Callable[[], float]:
    """Seconds per step of transformers' Trainer, from the first step's begin to the last one's end."""
    from transformers import (
        DataCollatorForSeq2Seq,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tuned = copy.deepcopy(lm).requires_grad_(True)
    table = lm.prepare(task.train, task, "train").table  # type: ignore[arg-type]
    rows = []
    for i in range(len(table)):
        ids, start = table.sample(i).tolist(), int(table.response[i])
        rows.append(
            {"input_ids": ids, "labels": [-100] * start + ids[start:], "attention_mask": [1] * len(ids)}
        )
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=3e-4,
        optim="adamw_torch_fused", lr_scheduler_type="constant", report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip

    def run() -> float:
        stamps.clear()
        collator = DataCollatorForSeq2Seq(lm.form.tokenizer)
        trainer = Trainer(
            tuned.lm,
            arguments,
            train_dataset=rows,
            data_collator=collator,
            callbacks=[Clock()],  # type: ignore[arg-type]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return (stamps[-1] - stamps[0]) / steps

    return run


def one_pass(lm: CausalLM, task: Experience, packing: bool | None) -> Callable[[], float]:
    """Seconds of a forward pass over a data set."""
    reader = copy.deepcopy(lm)
    reader.read_as(TextOptions(packing=packing))
    samples = reader.prepare(task.test, task, "test")

    def run() -> float:
        with torch.no_grad():
            return timed(lambda: [reader(batch) for batch in samples.batches(BATCH)])

    return run


def flow_weights(lm: CausalLM, task: Experience) -> tuple[Callable[[], float], FrozenModel]:
    """Seconds that FLOW takes to have its weights, nothing cached."""
    base = FrozenModel(lm)
    samples = lm.prepare(task.train, task, "train")  # type: ignore[arg-type]
    weights = dict(lm.state_dict())
    base.fingerprint(task)  # hashed once for all methods
    method = MITIGATIONS.get("flow")()

    def run() -> float:
        frozen = FrozenOutputs(FrozenCache(None), {"pretrained": base, "previous": base})
        context = Task(lm, (task,), 0, [samples], [], [], weights, weights, frozen, 0, 100, BATCH)
        return timed(lambda: method.start_task(context, method.keeps()))

    return run, base


def decoding(lm: CausalLM, task: Experience, prompts: int, together: int) -> Callable[[], float]:
    """Seconds to answer prompts, 8 tokens each."""
    asked = task.test.prompts[:prompts]  # type: ignore[attr-defined]
    return lambda: timed(lambda: decode(lm, lm.form, asked, 8, together))


def padding(samples: PreparedTexts) -> float:
    """Share of a padded batch's tokens that is padding."""
    batches = [
        samples.laid_out(samples.table, part, False) for part in torch.arange(len(samples)).split(BATCH)
    ]
    return 1 - int(samples.table.lengths.sum()) / sum(b.inputs.ids.numel() for b in batches)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--samples", type=int, default=512)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    lm, task = model(), texts(options.samples)
    lm.eval()
    samples = lm.prepare(task.train, task, "train")  # type: ignore[arg-type]
    lines = []

    def row(what: str, against: str, one: Callable[[], float], other: Callable[[], float], goal: str) -> None:
        mine, theirs, share = ratio(options.rounds, one, other)
        shown = share if goal.startswith("≤") or goal.startswith("about") else 1 / share
        lines.append(f"| {what} | {against} | {1e3 * mine:.0f} | {1e3 * theirs:.0f} | {shown:.2f} | {goal} |")

    padded = TextOptions(packing=False)
    plain = model(padded)
    row("training step", "transformers' Trainer", our_steps(lm, task, options.steps),
        trainer_steps(lm, task, options.steps), "≤ 1.0")  # fmt: skip
    row("training step, rows padded as there", "transformers' Trainer", our_steps(plain, task, options.steps),
        trainer_steps(lm, task, options.steps), "≤ 1.0")  # fmt: skip
    row("training step, rows shared", "rows padded", our_steps(lm, task, options.steps),
        our_steps(plain, task, options.steps), "times faster")  # fmt: skip
    row("forward pass, rows shared", "rows padded", one_pass(lm, task, None), one_pass(lm, task, False),
        "times faster")  # fmt: skip
    weigh, base = flow_weights(lm, task)
    row("FLOW's weights", "one forward pass", weigh, one_pass(lm, task, None), "about 1")
    passes = base.samples_run / (len(samples) * (options.rounds + 1))
    row("64 prompts decoded together", "one at a time", decoding(lm, task, 64, 64), decoding(lm, task, 64, 1),
        "≥ 5 times faster")  # fmt: skip
    parameters = sum(p.numel() for p in lm.parameters())
    print(
        f"pico-lm's architecture ({parameters / 1e6:.1f} M parameters), batch {BATCH}, {torch.get_num_threads()} "
        f"threads; {len(samples)} texts of {int(samples.table.lengths.min())} to "
        f"{int(samples.table.lengths.max())} tokens: padded batches are {padding(samples):.0%} padding. FLOW ran "
        f"the frozen model over {passes:.2f} × the data.\n"
    )
    print("| what | against | ms | against, ms | ratio | goal |\n|---|---|---:|---:|---:|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

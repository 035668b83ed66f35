"""Sequences and sets of texts: TRACE, retaining by doing, and the suites that forgetting is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams.base import Experience
from cl_forget.streams.protocols.text_sets import SETS

TRACE = (*("C-STANCE", "FOMC", "MeetingBank", "Py150", "ScienceQA", "NumGLUE-cm", "NumGLUE-ds", "20Minuten"),)
SUITE_SETS = {
    "post-forget": (
        *("mmlu", "bbh", "arc", "gpqa", "hellaswag", "ifeval", "musr", "piqa", "siqa", "truthfulqa"),
    ),
    "retaining-by-doing": ("ifeval", "mmlu", "countdown", "math", "wildjailbreak", "wildguardtest"),
    "trace": ("mmlu", "gsm8k", "bbh", "tydiqa", "boolq", "piqa"),
}


def trace(root: Path = Path("data"), limit: int | None = None) -> list[Experience]:
    """TRACE (Wang et al. 2310.06762): eight text tasks in sequence, by OP, BWT and the general ability delta.

    C-STANCE, FOMC, MeetingBank, Py150, ScienceQA, NumGLUE-cm, NumGLUE-ds, 20Minuten, of 5,000 training samples each;
    the paper trains chat models for 3 to 7 epochs a task. Answers are judged as there: by the letter (C-STANCE, FOMC,
    ScienceQA), ROUGE-L (MeetingBank), edit similarity (Py150), SARI (20Minuten), equality (NumGLUE). The benchmark's
    own folders are read as they are: `<root>/C-STANCE/train.json`, `eval.json`, `test.json` with prompt and answer.

    `suites: [{suite-set: trace}]` measures the six sets of its general ability delta, which the last column of its
    table is the mean change on. Its deltas of instructions and of safety are win rates that GPT-4 gives, and are not
    measured here.

    `root: embedded` runs eight skills of the embedded language model in the same shape.

    Args:
        root: the folder that the sets lie in; "embedded" for the stand-ins.
        limit: at most this many samples of each split; null keeps all.

    Raises:
        UserError: a set is not there; the message says which, where to put it and in which form.
    """
    return [SETS[name].load("stream 'trace'", root, True, limit) for name in TRACE]


def retaining_by_doing(
    train: Literal["ifeval", "mmlu", "countdown"] = "countdown",
    root: Path = Path("data"),
    limit: int | None = None,
) -> list[Experience]:
    """Retaining by doing (Chen et al. 2510.18874): one task to tune on; what is measured beside it is a suite set.

    `suites: [{suite-set: {of: retaining-by-doing, without: [countdown]}}]` names the others: of ifeval, mmlu and
    countdown those that are not tuned on, with math, wildjailbreak and wildguardtest. Reported are the accuracy on
    the task and the mean drop on the suites. Countdown is right where an expression uses the numbers and comes to the
    target, MATH by the final answer. IFEval's checks are lm-evaluation-harness's (the extra `lm-eval`). The paper has
    a model judge what is answered to harmful requests; here it is what their files ask for, such as a choice between
    a refusal and a compliance.

    The training data are `<root>/<train>`, a file or a folder of splits; the paper's are answers of an expert, of the
    model itself (self-SFT), or of reinforcement learning. `root: embedded` tunes on a skill of the embedded language
    model.

    Args:
        train: the task to tune on.
        root: the folder that the sets lie in; "embedded" for the stand-in.
        limit: at most this many samples of each split; null keeps all.

    Raises:
        UserError: the set is not there; the message says where to put it and in which form.
    """
    return [SETS[train].load("stream 'retaining-by-doing'", root, True, limit)]


def suite_set(
    of: Literal["post-forget", "retaining-by-doing", "trace"],
    root: Path = Path("data"),
    without: tuple[str, ...] = (),
    limit: int | None = None,
) -> list[Experience]:
    """Several suites by the name of a protocol, each from its files below `root`: `{suite-set: post-forget}`.

    "post-forget" (2510.17776): mmlu, bbh, arc, gpqa, hellaswag, ifeval, musr, piqa, siqa, truthfulqa, of which F_true
    and BT_true are taken, for `cl-forget audit` of any two checkpoints as well. "retaining-by-doing": ifeval, mmlu,
    countdown, math, wildjailbreak, wildguardtest. "trace": mmlu, gsm8k, bbh, tydiqa, boolq, piqa.

    A set is a file (`piqa.jsonl`, `piqa.csv`, `piqa.parquet`) or a folder of splits, with columns such as prompt and
    response, and `choices` where one is to be chosen; ifeval is lm-evaluation-harness's (the extra `lm-eval`).
    `root: embedded` measures as many skills of the embedded language model.

    Args:
        of: the set.
        root: the folder that its members lie in; "embedded" for the stand-ins.
        without: members to leave out, such as what is tuned on.
        limit: at most this many samples of each split; null keeps all.

    Raises:
        UserError: a member is not there; the message says which, where to put it and in which form.
    """
    for name in without:
        if name not in SUITE_SETS[of]:
            known = list(SUITE_SETS[of])
            raise UserError(
                f"suite set '{of}' has no '{name}'.{closest(name, known)} It has {', '.join(known)}."
            )
    names = [name for name in SUITE_SETS[of] if name not in without]
    if not names:
        raise UserError(f"suite set '{of}' without all of its members is empty: leave fewer out.")
    return [SETS[name].load(f"suite set '{of}'", root, False, limit) for name in names]

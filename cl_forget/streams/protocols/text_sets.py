"""The text sets that protocols are made of: where their files lie, and how their answers are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.streams._hub import is_saved, load_datasets
from cl_forget.streams._rows import (
    ARROW_NAMES,
    COMPRESSED_NAMES,
    CSV_NAMES,
    JSON_NAMES,
    Table,
    from_datasets,
    only,
    read_file,
    split_files,
)
from cl_forget.streams.base import Experience
from cl_forget.streams.harness import lm_eval
from cl_forget.streams.protocols.image_sets import EMBEDDED
from cl_forget.streams.protocols.judges import (
    countdown,
    edit_similarity,
    final_answer,
    first_letter,
    rouge_l,
    sari,
)
from cl_forget.streams.scoring import Judge, Scoring
from cl_forget.streams.skills.base import experience as skill_experience
from cl_forget.streams.skills.known import BY_NAME
from cl_forget.streams.skills.new import NEW_SKILLS
from cl_forget.streams.text_files import TextSource, named_splits, task_of

TWIN_TRAIN, TWIN_HELD_OUT = 240, 40  # items of a stand-in, so that an arm takes a minute or two
CHOICES = "choices"  # the column of a set that is answered by choosing
ENDINGS = tuple(
    ending + packed
    for ending in (*JSON_NAMES, *CSV_NAMES[:3], *ARROW_NAMES)
    for packed in ("", *COMPRESSED_NAMES)
)


@dataclass(frozen=True)
class TextSet:
    """One data set of a protocol.

    Attributes:
        name: of the task or suite, and of the file or folder below `root`.
        twin: the skill of the embedded model that stands in for it.
        judge: decides how right a free answer is, instead of equality.
        metric: what the judge's scores are called.
        harness: the task of lm-evaluation-harness that alone can judge it; None where code here can.
    """

    name: str
    twin: str
    judge: Judge | None = None
    metric: str | None = None
    harness: str | None = None

    def load(self, what: str, root: Path, train: bool, limit: int | None) -> Experience:
        """The set as a task or as a suite.

        Args:
            what: the protocol, for messages.
            root: where the files are; `EMBEDDED` for the stand-in.
            train: whether it is trained on.
            limit: at most this many samples of each split.

        Raises:
            UserError: the set is not there, cannot be read, or has nothing to train on.
        """
        if root == EMBEDDED:
            return self._twin(train, limit)
        if self.harness is not None and not train:
            return lm_eval(self.harness, limit=limit)
        read = self._read(what, root.expanduser(), train, limit)
        if self.harness is not None:
            return replace(lm_eval(self.harness, limit=limit), name=self.name, train=read.train)
        if self.judge is None or read.metric != "exact match":
            return read
        return replace(read, scoring=Scoring("exact match", self.judge), metric=self.metric or read.metric)

    def _twin(self, train: bool, limit: int | None) -> Experience:
        most = TWIN_HELD_OUT if limit is None else min(limit, TWIN_HELD_OUT)
        skill = BY_NAME.get(self.twin) or NEW_SKILLS[self.twin]
        return skill_experience(skill, min(limit or TWIN_TRAIN, TWIN_TRAIN) if train else None, most)

    def _read(self, what: str, root: Path, train: bool, limit: int | None) -> Experience:
        """From a file, or a folder with a file for each split; a suite has all but what is for training."""
        splits = named_splits(what, self._tables(what, root), None)
        if train and "train" not in splits:
            raise UserError(
                f"{what} trains on '{self.name}', whose files in '{root}' hold no `train` split: add one."
            )
        if not train:
            splits = {split: own for split, own in splits.items() if split != "train"} or {
                "test": splits["train"]
            }
        choices = CHOICES if all(CHOICES in own.columns for own in splits.values()) else None
        source = TextSource(path=str(root / self.name), name=self.name, choices=choices, limit=limit)
        return task_of(f"{what}, set '{self.name}'", self.name, splits, source)

    def _tables(self, what: str, root: Path) -> Mapping[str, Table]:
        """The rows by split, as the source calls its splits."""
        folder = root / self.name
        file = next((own for end in ENDINGS if (own := root / f"{self.name}{end}").is_file()), None)
        if file is not None:
            return read_file(file, "json")
        if not folder.is_dir():
            raise UserError(self._missing(what, folder))
        files = {} if is_saved(folder) else split_files(folder, JSON_NAMES)
        if files:
            return {split: only(own, read_file(own, "json")) for split, own in files.items()}
        loaded = load_datasets(f"{what}, set '{self.name}'", str(folder))
        return {split: from_datasets(own, "datasets") for split, own in loaded.items()}

    def _missing(self, what: str, folder: Path) -> str:
        own = f"; lm-evaluation-harness has it as `lm-eval: {{task: {self.harness}}}`" if self.harness else ""
        return (
            f"{what} needs the set '{self.name}', which is not there: put it in '{folder}' (train, validation and "
            f"test as JSON lines, CSV or Parquet, or as `datasets` saves it) or in '{folder}.jsonl', with columns "
            f"such as prompt and response, and choices where one is to be chosen{own}; `root: embedded` runs a "
            "stand-in."
        )


SETS = {
    own.name: own
    for own in (
        TextSet("C-STANCE", "pig-latin", first_letter, "accuracy"),
        TextSet("FOMC", "cipher", first_letter, "accuracy"),
        TextSet("MeetingBank", "vowel-free", rouge_l, "ROUGE-L"),
        TextSet("Py150", "binary", edit_similarity, "edit similarity"),
        TextSet("ScienceQA", "sorting", first_letter, "accuracy"),
        TextSet("NumGLUE-cm", "operator"),
        TextSet("NumGLUE-ds", "roman"),
        TextSet("20Minuten", "iso-dates", sari, "SARI"),
        TextSet("ifeval", "capital-letters", harness="ifeval"),
        TextSet("mmlu", "capitals"),
        TextSet("countdown", "operator", countdown, "right expressions"),
        TextSet("math", "addition", final_answer, "final answers"),
        TextSet("wildjailbreak", "reversing"),
        TextSet("wildguardtest", "counting"),
        TextSet("bbh", "largest"),
        TextSet("arc", "elements"),
        TextSet("gpqa", "number-words"),
        TextSet("hellaswag", "copying"),
        TextSet("musr", "letter-position"),
        TextSet("piqa", "plurals"),
        TextSet("siqa", "opposites"),
        TextSet("truthfulqa", "emoji-names"),
        TextSet("gsm8k", "addition", final_answer, "final answers"),
        TextSet("tydiqa", "comparing"),
        TextSet("boolq", "calendar"),
    )
}
"""Every set by its name, as TRACE and the papers on retention call them."""

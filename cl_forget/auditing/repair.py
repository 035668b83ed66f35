"""`cl-forget repair`: edits of the weights that need no training, searched on validation data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.auditing.bench import Bench, Tested, choose_data, require_data
from cl_forget.auditing.checkpoints import expand_names, losses
from cl_forget.auditing.edits import MERGES
from cl_forget.auditing.pair import Pair, load_again, load_pair, run_behind
from cl_forget.auditing.records import Candidate, Point, Repair, Repaired, score
from cl_forget.auditing.search import HMA_SAMPLES, METHODS, Search, number_or_least, usual_methods
from cl_forget.auditing.verdict import judge
from cl_forget.ground.environment import describe
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.redact import redact
from cl_forget.ground.registry import closest
from cl_forget.mitigations.model_stock import ModelStock
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.classifier import ImageClassifier
from cl_forget.models.options import TextOptions
from cl_forget.weights.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from cl_forget.weights.interpolation import Share


def repair(
    base: str | None,
    tuned: str | Sequence[str],
    stream: Sequence[Any] = (),
    suites: Sequence[Any] = (),
    *,
    output: StrPath | None = None,
    keep: float | None = None,
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    samples: int | None = 500,
    batch_size: int | None = None,
    text: TextOptions | None = None,
    tokenizer: str | None = None,
    merge_adapter: bool = False,
    anyway: bool = False,
) -> Repair:
    """Search edits between `base` and `tuned`, choose one on validation data, write it, report on test data.

    Most edits are `θ0 + s·(θ-θ0)` with one share s for each part of the model: the same for all (WiSE-FT),
    rising with depth (LiNeS), fitted in three groups (HMA), or 0 for some parts and 1 for the rest (restore).
    Intruder reduction shrinks singular vectors that the base does not have. Several tuned models are merged: task
    arithmetic, MagMax, TIES, DARE, Model Stock, OPCM, with the bits that a simulation with `restart` has.

    The choice: with retention `G/G(base)` and target `S/S(tuned)` (G, S: mean quality over suites and tasks,
    validation data) the edit with the largest mean of the two; or, with `keep`, that with the largest G among
    those with S ≥ keep · S(tuned). Equal edits: the one nearer to the tuned model. Without `keep` no edit is chosen
    whose S lies below the 95 % interval of the tuned model's.

    The answer (`verdict`): "repaired" where the choice brings generality back beyond its paired 95 % interval and,
    on test data, still has the speciality it was chosen for. Otherwise no model is written, unless `anyway`: there
    was "nothing to repair", "the tuned model has learnt nothing", there were "too few samples to tell", or "no edit
    brings it back".

    Args:
        base, stream, suites: as for `audit`; at least one task and one suite.
        tuned: a file or folder of weights, a LoRA adapter's folder, or the folder of a finished run; or several of
            them, to be merged. The last is then "the tuned model": what the others are merged with is written in its
            format and compared with it, and edits of one model are edits of it.
        output: a folder for the repaired model (`model/`), repair.json, tables, picture and page; None writes
            nothing.
        keep: share of the tuned model's speciality that must be kept, in (0, 1].
        methods: what to search, of `METHODS`; None for `usual_methods`.
        limit: samples per data set for the report on test data; None for all.
        samples: samples per validation set for the search; None for all.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        text: how a language model reads texts; by default as its run did.
        tokenizer: as for `audit`.
        merge_adapter: write a LoRA adapter's edit merged, in the base's format, instead of as an adapter.
        anyway: write the chosen edit whatever the answer is.

    Raises:
        UserError: as `audit`; no task or no suite; an unknown method; an output that exists.
    """
    asked = Asked(
        output=None if output is None else Path(output),
        keep=keep,
        methods=None if methods is None else tuple(methods),
        limit=limit,
        samples=samples,
        merge_adapter=merge_adapter,
        anyway=anyway,
    )
    names = expand_names(tuned)
    asked.check(len(names))
    last = run_behind(base, names[-1])
    earlier = [run_behind(base or (last.model if last else None), name) for name in names[:-1]]
    tasks, chosen = choose_data([*earlier, last], stream, suites)
    require_data(tasks, "the task the model was tuned for", "--stream")
    require_data(chosen, "a suite of what must not be lost", "--suite")
    pair = load_pair(base, names[-1], text, names[:-1], tokenizer)
    if pair.tuned.kind == "adapter" and not merge_adapter and set(asked.searched(pair)) & set(MERGES):
        raise UserError("what is merged of several adapters is no adapter: add --merge-adapter.")
    pair.add_tasks(tasks)
    pair.load()
    found = _repaired(Bench(pair, tasks, chosen, batch_size, limit), asked)
    if asked.output is not None:
        from cl_forget.auditing.output import write_repair

        write_repair(found, asked.output)
    return found


@dataclass(frozen=True)
class Asked:
    """What a repair is asked for; the fields are the arguments of `repair` of the same names."""

    output: Path | None
    keep: float | None
    methods: tuple[str, ...] | None
    limit: int | None
    samples: int | None
    merge_adapter: bool
    anyway: bool

    def searched(self, pair: Pair) -> tuple[str, ...]:
        """The methods asked for, or those that are usual for such a model."""
        if self.methods is not None:
            return self.methods
        return usual_methods(pair.tuned.kind, len(pair.models))

    def check(self, models: int) -> None:
        """Refuse what cannot be done with so many tuned models, before any is loaded; raises `UserError`."""
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(
                f"keep is the share of the tuned accuracy to keep, above 0 and at most 1, not {self.keep:g}."
            )
        for method in self.methods or ():
            if method == ModelStock.name and models < 2:
                raise UserError(f"{method} averages several models: name each with --tuned.")
            if method not in METHODS:
                raise UserError(
                    f"no edit is called '{method}'.{closest(method, list(METHODS))} Known: {', '.join(METHODS)}."
                )
        if self.output is not None and (self.output / "model").exists():
            raise UserError(f"{self.output / 'model'} exists; choose another --output, or remove it.")


def _repaired(bench: Bench, asked: Asked) -> Repair:
    """Search, choose, write the model, and measure it on test data."""
    pair, tasks, suites = bench.pair, bench.tasks, bench.suites
    small = bench.limited(min(HMA_SAMPLES, asked.samples or HMA_SAMPLES))
    renewed = bench.renew_statistics()
    search = Search(bench.limited(asked.samples), small)
    candidates = search.run(asked.searched(pair))
    position, rule = choose(candidates, search.base, search.tuned, asked.keep)
    share = search.edit(candidates[position])
    tested = {}
    ends: tuple[tuple[str, Callable[[str], Share]], ...] = (("base", lambda _: 0.0), ("tuned", lambda _: 1.0))
    for model, of in (*ends, ("repaired", share)):
        row = bench.row(None if model == "base" else model, of)
        tested[model] = Tested.of(row, bench.items("test"))
    items = {model: found.items for model, found in tested.items()}
    chosen = candidates[position]
    verdict, reason = judge(search.ends, search.measured(chosen), chosen, asked.keep, items)
    written: list[Path] = []
    if asked.output is not None and (verdict == "repaired" or asked.anyway):
        written = pair.write(share, asked.output / "model", asked.merge_adapter)
        _reread(pair, asked.output / "model", asked.merge_adapter)
    return Repair(
        base=redact(pair.base_name),
        tuned=redact(pair.tuned_name),
        merged=[redact(str(model.path)) for model in pair.others],
        format=pair.base.kind if asked.merge_adapter else pair.tuned.kind,
        rule=rule,
        reading=[] if pair.reading is None else list(pair.reading.said),
        statistics=None if renewed is None else "re-estimated" if renewed else "mixed",
        keep=asked.keep,
        base_point=search.base,
        tuned_point=search.tuned,
        candidates=candidates,
        chosen=position,
        losses=[
            Repaired(
                **vars(loss),
                repaired=tested["repaired"].scores[loss.name],
            )
            for loss in losses(tasks, suites, tested["base"].scores, tested["tuned"].scores, items)
        ],
        verdict=verdict,
        reason=reason,
        written=[str(path) for path in written],
        environment=describe(),
    )


def choose(candidates: Sequence[Candidate], base: Point, tuned: Point, keep: float | None) -> tuple[int, str]:
    """Position of the chosen candidate, and the rule in words (`rule_of`); see `repair`."""

    def nearness(candidate: Candidate) -> float:
        shares = list(candidate.shares.values()) or [min(candidate.setting, 1.0)]
        return sum(shares) / len(shares)

    everyone = range(len(candidates))
    if keep is None:
        known = tuned.ranges.get("speciality")
        lowest = float("-inf") if known is None else known.low
        whole = [i for i in everyone if number_or_least(candidates[i].validation.speciality) >= lowest]
        best = max(
            whole, key=lambda i: (score(candidates[i].validation, base, tuned), nearness(candidates[i]))
        )
        return best, rule_of(keep)
    floor = keep * number_or_least(tuned.speciality)
    kept = [i for i in everyone if number_or_least(candidates[i].validation.speciality) >= floor]
    best = max(kept, key=lambda i: (number_or_least(candidates[i].validation.kept), nearness(candidates[i])))
    return best, rule_of(keep)


def rule_of(keep: float | None) -> str:
    """The rule of the choice in words.

    Args:
        keep: share of the tuned model's speciality to keep; None balances both.
    """
    if keep is None:
        return "largest mean of retention G/G(base) and target S/S(tuned), on validation data"
    return f"largest generality among edits that keep {keep:g} of the tuned speciality, on validation data"


def _reread(pair: Pair, folder: Path, merge_adapter: bool) -> None:
    """The written model must be whole: opened again, with the tensors it should have."""
    names = pair.base.source.infos if merge_adapter else pair.tuned.source.infos
    again = open_checkpoint(
        folder if pair.tuned.kind != "file" or merge_adapter else folder / pair.tuned.path.name,
        pair.base.source,
    )
    if (pair.base if merge_adapter else pair.tuned).saver is not None:
        assert isinstance(pair.model, (CausalLM, ImageClassifier)), "others have no saver"
        load_again(pair.model, folder)  # its library stores it otherwise, and says whether it is whole
        return
    again.know(names)
    if not set(names) <= set(again.source.infos):
        raise UserError(f"the model in {folder} is not whole; remove it and run again.")

"""Causal language models of transformers as foundation models.

A unit is a token of a response: the loss is taken there and nowhere else, and the head (the output
embeddings) is applied there and nowhere else. The model has no heads of tasks: every task is text.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import whole
from cl_forget.models import _answers
from cl_forget.models._prompts import TextPrompts
from cl_forget.models._quiet import quiet_transformers
from cl_forget.models._samples import render_sample
from cl_forget.models._texts import PreparedTexts, TextFormat, TextTable, Tokens, lay_out
from cl_forget.models.base import Batch, Forward, FoundationModel, Prepared, evaluating, full_precision
from cl_forget.models.options import TextOptions
from cl_forget.streams.base import Data, Experience
from cl_forget.streams.text import TextData
from cl_forget.streams.understood import Seen

FEATURE_POSITIONS = 16
"""Features are read at this many positions of each sample, evenly spread over those that answer."""


class CausalLM(FoundationModel):
    """Any causal language model of transformers.

    Args:
        lm: the model, as `AutoModelForCausalLM` gives it.
        tokenizer: its tokenizer.
        options: how texts are read.

    Raises:
        UserError: the architecture has no output embeddings to apply where it answers.
    """

    library = "lm"

    def __init__(self, lm: Any, tokenizer: Any, options: TextOptions | None = None) -> None:
        super().__init__()
        self.lm: Any = lm
        self.spec = str(getattr(lm.config, "name_or_path", "") or type(lm).__name__)
        self._tokenizer = tokenizer
        self._packs: bool | None = None
        if lm.get_output_embeddings() is None:
            raise UserError(f"{type(lm).__name__} has no output embeddings; use a causal language model.")
        self._blocks_path = _path_of_blocks(lm)
        count = self.blocks
        quarters = sorted({round(count * q / 4) for q in (1, 2, 3, 4)} - {0})
        self.depths = ("embeddings", *(f"block {i + 1}" for i in range(count)))
        self.default_depths = ("embeddings", *(f"block {i}" for i in quarters))
        self.read_as(options or TextOptions())
        self.requires_grad_(False).eval()

    def __deepcopy__(self, memo: dict[int, Any]) -> CausalLM:
        memo[id(self._tokenizer)] = self._tokenizer  # never changes
        memo[id(self.form)] = self.form
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def extra_repr(self) -> str:
        """What outputs depend on beside the weights; the configuration as its hash."""
        config = {k: v for k, v in self._config.to_dict().items() if not k.startswith("_") and k != "dtype"}
        text = json.dumps(config, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"config={digest}, embedding={self.options.embedding}, top_logits={self.top_logits}"

    # -- texts -----------------------------------------------------------------------------------------
    @property
    def tokenizer(self) -> Any:
        """What texts are read with; one set anew reads what is prepared from then on."""
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.read_as(self.options)

    def read_as(self, options: TextOptions) -> None:
        """Set how texts are read; data prepared before keep their own way.

        Raises:
            UserError: options that the tokenizer or the model cannot follow.
        """
        self.options = options
        self.form = TextFormat(self._tokenizer, options, self._context, self._ends(), self.known_tokens)
        self.top_logits = options.top_logits if options.top_logits < self.vocabulary else None
        if options.packing and not self.packs:
            raise UserError(
                f"'{self.spec}' does not keep the samples of a shared row apart; set text.packing=false."
            )

    def prepare(self, data: Data, experience: Experience, split: str, augment: str = "none") -> PreparedTexts:
        """Token ids, made once."""
        if not isinstance(data, TextData):
            raise UserError(
                f"experience '{experience.name}' holds {type(data).__name__}, but '{self.spec}' reads texts; "
                "choose a text stream or a CLIP model."
            )
        if augment != "none":
            raise UserError(f"train.augment={augment} is for images; leave it out for '{self.spec}'.")
        packed = self.options.packing
        if packed is None and not self.packs:
            packed = False
        return PreparedTexts(data, experience, split, self.form, packed, self.vocabulary, self)

    def see(self, experience: Experience) -> Seen:
        """The first sample as tokens; every split is read, so that what cannot be read is said at once."""
        return Seen(render_sample(self.form, experience))

    def add_task(self, experience: Experience) -> None:
        """Nothing: a task needs no head of its own.

        Raises:
            UserError: the experience has classes and no texts.
        """
        if experience.labels is not None:
            raise UserError(
                f"experience '{experience.name}' asks for classes, but '{self.spec}' answers in text; choose a "
                "text stream or a CLIP model."
            )

    @property
    def packs(self) -> bool:
        """Whether samples that share a row under a mask get the logits they get alone; tried out once."""
        if self._packs is None:
            self._packs = _keeps_apart(self)
        return self._packs

    def looks_back_only(self) -> bool:
        """Whether a token changes nothing before it: what makes a language model causal, whatever it is called."""
        ids = torch.arange(6, device=self.device)[None] % self.vocabulary
        other = ids.clone()
        other[0, -1] = (ids[0, -1] + 1) % self.vocabulary
        with torch.no_grad(), evaluating(self):
            first, second = (
                self.lm(input_ids=given, use_cache=False).logits[0, :-1] for given in (ids, other)
            )
        if first.isnan().any() or second.isnan().any():
            raise UserError(
                "the model gives logits that are no numbers: its weights are finite but too large, as in a damaged "
                "file; download or save it again."
            )
        return torch.allclose(first, second, atol=1e-4 * float(first.abs().max()), rtol=0)

    # -- forward ---------------------------------------------------------------------------------------
    def forward(self, batch: Batch, depths: Sequence[str] = (), embedding: Tensor | None = None) -> Forward:
        """One pass; logits at the positions that answer only."""
        if embedding is not None:
            raise UserError(f"'{self.spec}' has no head to put on an embedding; use a CLIP model.")
        owner = batch.sample_of_unit
        assert isinstance(batch.inputs, Tokens) and owner is not None
        where = _spread(owner, len(batch))
        logits, hidden, features = self._run(batch.inputs, depths, where, batch.headless)
        sizes = torch.bincount(owner, minlength=len(batch))
        if self.options.embedding == "last":
            pooled = hidden[sizes.cumsum(0) - 1]
        else:
            total = hidden.new_zeros(len(batch), hidden.shape[1]).index_add(0, owner, hidden)
            pooled = total / sizes[:, None]
        return Forward(logits, batch.targets, pooled, features, owner)

    def _run(
        self, tokens: Tokens, depths: Sequence[str], where: Tensor, headless: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Logits (units, vocabulary), last hidden states (units, width), features (batch, positions, width)."""
        read: dict[str, Tensor] = {}
        rows, columns = tokens.rows, tokens.columns

        def answer_only(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            read["hidden"] = given[0][rows, columns]
            return (read["hidden"][None, :0] if headless else read["hidden"][None], *given[1:])

        def keep(depth: str) -> Any:
            def hook(_module: nn.Module, _given: Any, out: Any) -> None:
                states = out[0] if isinstance(out, tuple) else out
                read[depth] = states[rows[where], columns[where]]  # (batch, positions, width)

            return hook

        modules = self._modules_at(depths)
        hooks = [module.register_forward_hook(keep(depth)) for depth, module in modules.items()]
        head = self.lm.get_output_embeddings()
        hooks.append(head.register_forward_pre_hook(answer_only))
        try:
            out = self.lm(
                input_ids=tokens.ids,
                attention_mask=self._attention(tokens),
                position_ids=tokens.positions,
                use_cache=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        return full_precision(out.logits[0]), read["hidden"], {depth: read[depth] for depth in depths}

    def _attention(self, tokens: Tokens) -> Tensor:
        mask = tokens.mask()
        if mask is None:  # padding is on the right, where a causal model cannot see it
            return torch.ones_like(tokens.ids)
        if self._config._attn_implementation == "sdpa":
            return mask
        dtype = next(self.lm.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
            ~mask, torch.finfo(dtype).min
        )

    def _modules_at(self, depths: Sequence[str]) -> dict[str, nn.Module]:
        blocks = self.lm.get_submodule(self._blocks_path) if self._blocks_path else ()
        embeddings = self.lm.get_input_embeddings()
        return {
            depth: embeddings if depth == "embeddings" else blocks[int(depth.split()[1]) - 1]
            for depth in depths
        }

    def correct(self, batch: Batch, forward: Forward) -> Tensor | None:
        """(batch,) by greedy decoding or multiple choice, as the experience is scored; None for perplexity."""
        return self.correct_and_said(batch, forward)[0]

    def correct_and_said(self, batch: Batch, forward: Forward) -> tuple[Tensor | None, list[str | None]]:
        """`correct`, and the answers that were decoded or chosen."""
        samples = batch.samples
        assert isinstance(samples, PreparedTexts)
        if samples.scoring.kind == "perplexity":
            return None, [None] * len(batch)
        judge = (
            _answers.choices_right if samples.scoring.kind == "multiple choice" else _answers.exact_matches
        )
        return judge(self, batch, forward)

    def answers(self, prompts: Sequence[Any], max_new_tokens: int) -> list[str]:
        """What the model says to each prompt, by greedy decoding in batches."""
        said = _answers.decode(self, self.form, list(prompts), max_new_tokens)
        return [text for text, _ in said]

    def check_prompts(self, experience: Experience, judged: bool = False) -> None:
        """Every sample of the training data needs a prompt, and a judge where answers are judged."""
        data = experience.train
        if not isinstance(data, TextData) or not all(data.prompts):
            raise UserError(
                f"task '{experience.name}' has training data without a prompt, to which no answer can be drawn; "
                "give every sample a prompt."
            )
        if judged and experience.metric == "perplexity":
            raise UserError(
                f"task '{experience.name}' is measured by perplexity, which judges no answer; set its scoring to "
                "exact match, with a judge of your own if need be."
            )

    def prompts(self, samples: Prepared, shown: str | None = None, length: int | None = None) -> TextPrompts:
        """Token ids, made once."""
        self.check_prompts(samples.experience)
        assert isinstance(samples, PreparedTexts)
        return TextPrompts(samples, shown, length)

    def checkpoint_activations(self, on: bool) -> None:
        """As transformers does it, without reentry."""
        if on and not self.lm.supports_gradient_checkpointing:
            raise UserError(
                f"'{self.spec}' cannot do gradient checkpointing; leave train.gradient_checkpointing out."
            )
        if on:
            self.lm.activation_checkpointing_enable({"use_reentrant": False})
        else:
            self.lm.activation_checkpointing_disable()

    # -- parameters ------------------------------------------------------------------------------------
    def tunable(self, experience: Experience) -> list[str]:
        """Every parameter; one that is tied to another counts once."""
        return [name for name, _ in self.named_parameters()]

    def head_parameters(self, experience: Experience) -> list[str]:
        """None: the output embeddings belong to the model, not to a task."""
        return []

    def block_of(self, parameter: str) -> int | None:
        """Transformer block, 0 = the first."""
        prefix = f"lm.{self._blocks_path}."
        if not self._blocks_path or not parameter.startswith(prefix):
            return None
        return int(parameter.removeprefix(prefix).split(".")[0])

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return len(self.lm.get_submodule(self._blocks_path)) if self._blocks_path else 0

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Every tensor once: a tied one under its first name only."""
        state = super().state_dict(*args, **options)
        for alias in self._tied():
            state.pop(alias, None)
        return state

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """The inverse of `state_dict`; names of tied tensors may be given or not."""
        aliases = {alias: state_dict[name] for alias, name in self._tied().items() if name in state_dict}
        return super().load_state_dict({**state_dict, **aliases}, strict, assign)

    def _tied(self) -> dict[str, str]:
        """Second name -> first name of each parameter that has two."""
        first: dict[int, str] = {}
        names: dict[str, str] = {}
        for name, parameter in self.named_parameters(remove_duplicate=False):
            if first.setdefault(id(parameter), name) != name:
                names[name] = first[id(parameter)]
        return names

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        return self.lm.get_output_embeddings().weight is self.lm.get_input_embeddings().weight

    def untie(self) -> None:
        """Give the head weights of its own, for now those that it shared with the embedding."""
        head = self.lm.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        self.lm.config.tie_word_embeddings = self._config.tie_word_embeddings = False

    # -- files -----------------------------------------------------------------------------------------
    def export(self, folder: Path) -> list[Path]:
        """`model/`: configuration, weights and tokenizer as transformers saves and loads them.

        Use the model again as `hf:<folder>/model`.
        """
        target = folder / "model"
        with whole(target) as temporary, quiet_transformers():
            self.lm.save_pretrained(temporary)
            self._tokenizer.save_pretrained(temporary)
            shutil.rmtree(target, ignore_errors=True)
        return sorted(target.iterdir())

    def load_exported(self, folder: Path) -> None:
        """Set the model to what `export` has written."""
        from cl_forget.weights.checkpoint import open_checkpoint

        source = open_checkpoint(folder / "model").source
        self.load_state_dict({f"lm.{name}": source.load(name) for name in source.infos})

    # -- what the configuration says -------------------------------------------------------------------
    @property
    def known_tokens(self) -> int:
        """Number of tokens that have an embedding."""
        return int(self.lm.get_input_embeddings().weight.shape[0])

    @property
    def vocabulary(self) -> int:
        """Number of logits of a unit."""
        return int(self.lm.get_output_embeddings().weight.shape[0])

    @property
    def _config(self) -> Any:
        return self.lm.config.get_text_config()

    @property
    def _context(self) -> int | None:
        context = getattr(self._config, "max_position_embeddings", None)
        return int(context) if context and context > 0 else None

    def _ends(self) -> tuple[int, ...]:
        """Ids that end a response: the tokenizer's own first, then what the model's settings name."""
        settings = getattr(self.lm, "generation_config", None)
        named: list[Any] = [self._tokenizer.eos_token_id]
        for source in (settings, self._config):
            value = getattr(source, "eos_token_id", None)
            named += value if isinstance(value, list) else [value]
        return tuple(dict.fromkeys(int(i) for i in named if i is not None and 0 <= i < self.vocabulary))


def _path_of_blocks(lm: Any) -> str:
    """Where the model keeps its transformer blocks; empty where nothing looks like them."""
    count = getattr(lm.config.get_text_config(), "num_hidden_layers", None)
    for path, module in lm.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return str(path)
    return ""


def _spread(owner: Tensor, batch: int) -> Tensor:
    """(batch, positions) units of each sample, evenly spread; short samples repeat some."""
    sizes = torch.bincount(owner, minlength=batch)  # units come in the order of the samples
    steps = torch.arange(FEATURE_POSITIONS, device=owner.device)
    inside = steps[None, :] * (sizes[:, None] - 1) // (FEATURE_POSITIONS - 1)
    return (sizes.cumsum(0) - sizes)[:, None] + inside


def _keeps_apart(model: CausalLM) -> bool:
    """Whether a shared row gives the logits of separate ones."""
    window = getattr(model._config, "sliding_window", None)
    if window is not None and (model._context is None or window < model._context):
        return False  # our mask would take the window's place
    tokens = [
        [(7 * i + 3 * k) % model.vocabulary for k in range(length)] for i, length in enumerate((6, 3, 3))
    ]
    table = TextTable([(own[:1], own[1:]) for own in tokens])
    nothing = torch.zeros(3, FEATURE_POSITIONS, dtype=torch.int64, device=model.device)
    with torch.no_grad(), evaluating(model):
        try:
            alone, shared = (
                model._run(lay_out(table, torch.arange(3), packed)[0].to(model.device), (), nothing, False)[0]
                for packed in (False, True)
            )
        except Exception:  # whatever an architecture raises at a mask it does not know: it does not pack
            return False
    return torch.allclose(alone, shared, atol=1e-3 * float(alone.abs().max()), rtol=0)

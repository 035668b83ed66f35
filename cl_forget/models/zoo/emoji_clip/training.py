"""The training loop of both towers, on processors or on an accelerator."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError
from cl_forget.models.zoo._pretraining import ascended, optimizer_tensors, restore_optimizers, sam_epochs
from cl_forget.models.zoo.emoji_clip import TEACHER, _statistics
from cl_forget.models.zoo.emoji_clip._muon import Muon
from cl_forget.models.zoo.emoji_clip._patches import KeepPatches, generator_of_thread
from cl_forget.models.zoo.emoji_clip.augment import augment, mix
from cl_forget.models.zoo.emoji_clip.objectives import Anchors, Objective, Teacher, Views
from cl_forget.models.zoo.emoji_clip.recipe import Recipe
from cl_forget.models.zoo.emoji_clip.towers import build_model, load_tower, normalised

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from open_clip.model import CLIP

    from cl_forget.streams.emoji import EmojiSet

Unit = tuple[Callable[[], Tensor], float]  # gives a loss; its weight

_WARM_UP = 3  # steps before a step is recorded for an accelerator, so that every buffer exists
_SETTLING = 16  # batches that the running statistics of BatchNorm are taken over


def labels_of(data: "EmojiSet") -> Tensor:
    """(N,) place of each picture's concept among the seen concepts; meaningless for held-out concepts."""
    seen = torch.tensor([not concept.held_out for concept in data.concepts])
    return (seen.cumsum(0) - 1)[data.concept]


class Trainer:
    """Everything that changes during training, and the one step that changes it.

    Attributes:
        model: the weights being trained.
        average: their exponential moving average, which is what is measured and written.
        epoch: epochs done.
        steps_per_epoch: steps of each.
    """

    def __init__(self, recipe: Recipe, data: "EmojiSet", tokenizer: Any, device: torch.device) -> None:
        if recipe.sam and device.type != "cpu":
            raise UserError(
                "a recorded step of an accelerator draws other views for SAM's second pass: leave out --sam, or hide "
                "the accelerator (CUDA_VISIBLE_DEVICES=)."
            )
        self.recipe, self.data, self.device = recipe, data, device
        concepts = [concept for concept in data.concepts if not concept.held_out]
        self.images, self.label = data.images.to(device), labels_of(data).to(device)
        self.pictures = data.pretrain.nonzero().flatten()
        self.model, self.average = (build_model(recipe.tower, recipe.seed).to(device) for _ in range(2))
        self.objective: Objective = (
            Teacher(self.model, load_tower(TEACHER).to(device), concepts, tokenizer, recipe)
            if recipe.teacher
            else Anchors(self.model, concepts, tokenizer, recipe, device)
        )
        self.average.load_state_dict(self.model.state_dict())
        _statistics.leave_alone(self.model.visual)
        self.optimizers = _optimizers(self.model, self.objective.parameters, recipe)
        full = math.ceil(len(self.pictures) / recipe.batch_size)
        self.steps_per_epoch = min(full, recipe.steps_per_epoch or full)
        self.epoch = 0
        self._recorded: dict[tuple[Any, ...], Callable[[], Tensor]] = {}
        # What a recorded step reads anew each time lies in tensors.
        self._chosen = torch.zeros(recipe.batch_size, dtype=torch.long, device=device)
        self._strength = torch.ones((), device=device)
        self._follow = torch.ones((), device=device)

    # -- one step ----------------------------------------------------------------------------------------
    def _units(self, seed: int, phase: tuple[bool, bool], generator: torch.Generator | None) -> list[Unit]:
        """The work of one step. A unit draws from a generator of its own on processors, so that the number of
        threads does not change a bit; on an accelerator there is one for all."""
        pull, whole = phase
        units: list[Unit] = []
        parts = self._chosen.split(self.recipe.unit)
        for place, part in enumerate(parts):

            def picture_loss(part: Tensor = part, seed: int = seed + place) -> Tensor:
                own = torch.Generator().manual_seed(seed) if self.device.type == "cpu" else None
                generator_of_thread.own = own
                return self.objective.pictures(self.model, self._views(part, whole, own))

            units.append((picture_loss, 1 / len(self._chosen)))
        if isinstance(self.objective, Anchors):
            units.append((lambda: self.objective.texts(self.model, pull, generator), 0.5))  # type: ignore[arg-type, return-value]
        return units

    def _views(self, chosen: Tensor, whole: bool, generator: torch.Generator | None) -> Views:
        views = augment(self.images[chosen], generator, self._strength, self.recipe.style)
        labels = self.label[chosen]
        pixels, share = mix(views, generator, 0.0 if whole else self.recipe.mix)
        return Views(pixels, labels, labels.roll(1), share)

    def _gradients(self, unit: Unit) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = unit[0]() * unit[1]
        return loss.detach(), torch.autograd.grad(loss, self.objective.parameters, allow_unused=True)

    def _side_by_side(self, units: list[Unit]) -> list[tuple[Tensor, tuple[Tensor | None, ...]]]:
        """What `_gradients` gives for each unit, in a stream of its own on the accelerator."""
        here, done = torch.cuda.current_stream(), []
        streams = [torch.cuda.Stream() for _ in units]
        for stream, unit in zip(streams, units, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                done.append(self._gradients(unit))
        for stream in streams:
            here.wait_stream(stream)
        return done

    def _gradient(self, units: list[Unit], threads: "Executor | None") -> Tensor:
        """Gradients of all units, added in their order; gives the loss."""
        done = self._side_by_side(units) if threads is None else list(threads.map(self._gradients, units))
        for parameter, gradient in zip(self.objective.parameters, _summed([g for _, g in done]), strict=True):
            parameter.grad = gradient
        return torch.stack([loss for loss, _ in done]).sum()

    def _step(
        self, units: list[Unit], threads: "Executor | None", generator: torch.Generator | None = None
    ) -> Tensor:
        """One update; gives the loss. Both passes of SAM see the same views and captions: what the units draw from
        `generator` is drawn again."""
        recipe = self.recipe
        before = None if generator is None else generator.get_state()
        loss = self._gradient(units, threads)
        if self.epoch in sam_epochs(recipe.epochs, recipe.sam, recipe.sam_share):
            with ascended(self.objective.parameters, recipe.sam):
                if generator is not None and before is not None:
                    generator.set_state(before)
                self._gradient(units, threads)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
            pairs = list(self.average.parameters()), list(self.model.parameters())
            change = torch._foreach_sub(pairs[1], pairs[0])
            torch._foreach_mul_(change, self._follow)
            torch._foreach_add_(pairs[0], change)
        return loss

    def _prepare(self, step: int, chosen: Tensor) -> None:
        """Fill the tensors that a step reads."""
        recipe = self.recipe
        left = (recipe.epochs * self.steps_per_epoch - step) / (
            recipe.cool_down_epochs * self.steps_per_epoch
        )
        rate = recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up_steps, left)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        # Early on the average follows quickly, so that it does not remember the random start.
        self._follow.fill_(1 - min(recipe.average_decay, (1 + step) / (10 + step)))
        self._strength.fill_(min(1.0, (self.epoch + 1) / recipe.easy_epochs))
        self._chosen.copy_(chosen)

    def _on_accelerator(self, phase: tuple[bool, bool]) -> Callable[[], Tensor]:
        """A step recorded as one CUDA graph: a thousand small kernels are then started at once."""
        if phase not in self._recorded:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self._step(self._units(0, phase, None), None)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = self._step(self._units(0, phase, None), None)

            def replay() -> Tensor:
                graph.replay()
                return loss.clone()

            self._recorded[phase] = replay
        return self._recorded[phase]

    # -- epochs ------------------------------------------------------------------------------------------
    def run_epoch(self, threads: "Executor") -> Iterator[Tensor]:
        """Train one epoch, giving the loss of each step. All randomness comes from (seed, epoch), so a
        resumed run repeats it."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + self.epoch)
        whole = self.epoch >= recipe.epochs - recipe.whole_epochs
        phase = (self.epoch >= recipe.pull_from_epoch, whole)
        self.model.train()
        if recipe.patch_dropout:
            self.model.visual.patch_dropout = KeepPatches(1.0 if whole else 1 - recipe.patch_dropout)
        order = self.pictures[torch.randperm(len(self.pictures), generator=generator)]
        # Every step has a whole batch: the last one of an epoch takes the rest from its beginning.
        order = torch.cat([order, order[: recipe.batch_size]]).to(self.device)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(recipe.seed * 100_003 + self.epoch)
        for batch in range(self.steps_per_epoch):
            step = self.epoch * self.steps_per_epoch + batch
            self._prepare(step, order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size])
            if self.device.type == "cuda":
                yield self._on_accelerator(phase)()
            else:
                seed = int(torch.randint(2**31, (), generator=generator))
                yield self._step(self._units(seed, phase, generator), threads, generator)
        self.epoch += 1

    def settle(self) -> None:
        """Give the averaged weights running statistics, of random views, where they need any."""
        _statistics.estimate(self.average.visual, self._settling_views())

    def _settling_views(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.recipe.seed)
        order = self.pictures[torch.randperm(len(self.pictures), generator=generator)]
        for part in order[: _SETTLING * 256].split(256):
            views = augment(self.data.images[part], generator, 1.0, self.recipe.style)
            yield normalised(views.to(self.device))

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore` continues to the same bits."""
        tensors = {"epoch": torch.tensor(self.epoch)}
        if isinstance(self.objective, Anchors):
            tensors["anchors"] = self.objective.anchors.detach()
        for prefix, module in (("model", self.model), ("average", self.average)):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
        return tensors | optimizer_tensors(self.optimizers)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        if isinstance(self.objective, Anchors):
            self.objective.anchors.data.copy_(tensors["anchors"])
        self.epoch = int(tensors["epoch"])
        for prefix, module in (("model.", self.model), ("average.", self.average)):
            own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
            module.load_state_dict({name.removeprefix(prefix): value for name, value in own.items()})
        restore_optimizers(self.optimizers, tensors)


def _summed(parts: list[tuple[Tensor | None, ...]]) -> list[Tensor | None]:
    """The gradients of several units, added in their order."""
    total = list(parts[0])
    for part in parts[1:]:
        pairs = list(enumerate(zip(total, part, strict=True)))
        both = [(i, a, b) for i, (a, b) in pairs if a is not None and b is not None]
        total = [b if a is None else a for _, (a, b) in pairs]
        if both:
            added = torch._foreach_add([a for _, a, _ in both], [b for _, _, b in both])
            for (i, _, _), gradient in zip(both, added, strict=True):
                total[i] = gradient
    return total


def _optimizers(
    model: "CLIP", trained: list[torch.nn.Parameter], recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of transformer blocks, AdamW for the rest."""
    blocks = {id(p) for name, p in model.named_parameters() if p.ndim == 2 and "resblocks" in name}
    matrices: list[Tensor] = [parameter for parameter in trained if id(parameter) in blocks]
    rest = [parameter for parameter in trained if id(parameter) not in blocks]
    fast: dict[str, Any] = {}
    rate: Any = recipe.learning_rate
    if rest[0].is_cuda:  # a recorded step reads the rate from a tensor
        rate = torch.tensor(rate, device=rest[0].device)
        fast = {"fused": True, "capturable": True}
    return [
        *([Muon(matrices, lr=rate, weight_decay=recipe.weight_decay)] if matrices else []),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, **fast),
    ]

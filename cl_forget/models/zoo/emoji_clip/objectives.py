"""What pictures and captions are pulled towards: anchors learnt with the model, or a teacher's answers."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

from cl_forget.models.zoo.emoji_clip.captions import captions
from cl_forget.models.zoo.emoji_clip.recipe import Recipe
from cl_forget.models.zoo.emoji_clip.towers import normalised

if TYPE_CHECKING:
    from open_clip.model import CLIP

    from cl_forget.streams.emoji import Concept


class Views(NamedTuple):
    """A unit of pictures as the model sees them.

    Attributes:
        pixels: (unit, 3, height, width) in [0, 1].
        label: (unit,) concept of the picture.
        other: (unit,) concept of what is mixed into it.
        share: (unit,) how much of it is its own, 0-1.
    """

    pixels: Tensor
    label: Tensor
    other: Tensor
    share: Tensor


class Captions:
    """Tokenised captions of the seen concepts, to draw one at a time."""

    def __init__(self, concepts: "list[Concept]", tokenizer: Any, device: torch.device) -> None:
        kinds = [tokenizer(texts) for concept in concepts for texts in captions(concept)]
        self.count = torch.tensor([len(texts) for texts in kinds]).view(-1, 2).to(device)
        # (concepts, 2, most captions, context): by name and looser ones, padded to one number of captions.
        padded = nn.utils.rnn.pad_sequence(kinds, batch_first=True)
        self.tokens = padded.view(-1, 2, *padded.shape[1:]).to(device)

    def draw(self, concepts: Tensor, generator: torch.Generator | None) -> Tensor:
        """(concepts, context) tokens: half of the captions name the concept, half are looser."""
        random = torch.rand(len(concepts), 2, generator=generator, device=concepts.device)
        kind = (random[:, 0] >= 0.5).long()
        place = (random[:, 1] * self.count[concepts, kind]).long()
        return self.tokens[concepts, kind, place]


class Objective(Protocol):
    """What a model is trained towards.

    Attributes:
        parameters: what is trained, of the model and beside it.
    """

    parameters: list[nn.Parameter]

    def pictures(self, model: "CLIP", views: Views) -> Tensor:
        """The loss of a unit of pictures, summed over them."""

    def texts(self, model: "CLIP", pull: bool, generator: torch.Generator | None) -> Tensor | None:
        """The mean loss of random captions; None where no text is trained."""


class Anchors:
    """A direction for each concept, learnt with the model and thrown away after training.

    Pictures and captions are both classified among *all* anchors: the full contrast between all concepts at the
    price of two matrix products. A caption may be nearest to its anchor and still be far from it, and a picture
    would then find the anchor but not the caption: so captions are also pulled to the anchors, by cosine.
    """

    def __init__(
        self, model: "CLIP", concepts: "list[Concept]", tokenizer: Any, recipe: Recipe, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.captions = Captions(concepts, tokenizer, device)
        width = int(model.text_projection.shape[1])
        self.anchors = nn.Parameter(torch.randn(len(concepts), width).mul(0.05).to(device))
        self.parameters = [*model.parameters(), self.anchors]

    def _logits(self, model: "CLIP", features: Tensor) -> Tensor:
        return model.logit_scale.exp() * features @ normalize(self.anchors, dim=1).T

    def pictures(self, model: "CLIP", views: Views) -> Tensor:
        """Cross entropy among all anchors."""
        logits = self._logits(model, model.encode_image(normalised(views.pixels), normalize=True))
        return _mixed_cross_entropy(logits, views, self.recipe.label_smoothing)

    def texts(self, model: "CLIP", pull: bool, generator: torch.Generator | None) -> Tensor | None:
        """Cross entropy of captions among all anchors, and their distance to their own."""
        recipe = self.recipe
        count = recipe.pulled_captions_per_step if pull else recipe.captions_per_step
        device = self.anchors.device
        labels = torch.randint(len(self.anchors), (count,), generator=generator, device=device)
        features = model.encode_text(self.captions.draw(labels, generator), normalize=True)
        loss = cross_entropy(self._logits(model, features), labels, label_smoothing=recipe.label_smoothing)
        if pull:
            own = normalize(self.anchors, dim=1).detach()[labels]
            loss = loss + recipe.pull * (1 - (features * own).sum(1)).mean()
        return loss


class Teacher:
    """Another model's answers to the very same views (Beyer et al. 2106.05237), and its embedding of them.

    The student takes over the teacher's text tower, so both speak of concepts in one space (TinyCLIP, 2309.12314):
    only the image tower is trained, and it is trained against the captions themselves.
    """

    def __init__(
        self, model: "CLIP", teacher: "CLIP", concepts: "list[Concept]", tokenizer: Any, recipe: Recipe
    ) -> None:
        self.recipe, self.teacher = recipe, teacher
        own = {name: value for name, value in teacher.state_dict().items() if not name.startswith("visual.")}
        model.load_state_dict(own, strict=False)
        self.parameters = list(model.visual.parameters())
        self.scale = float(teacher.logit_scale.exp())
        with torch.no_grad():
            embedded = [
                teacher.encode_text(tokenizer(captions(concept)[0][:1]).to(teacher.logit_scale.device))
                for concept in concepts
            ]
            self.concepts = normalize(torch.cat(embedded), dim=1)  # (seen concepts, embedding)

    def pictures(self, model: "CLIP", views: Views) -> Tensor:
        """Cross entropy, divergence from the teacher's answers, and distance to its embedding."""
        inputs = normalised(views.pixels)
        features = model.encode_image(inputs, normalize=True)
        with torch.no_grad():
            wanted = self.teacher.encode_image(inputs, normalize=True)
            answers = log_softmax(self.scale * wanted @ self.concepts.T, dim=1)
        logits = self.scale * features @ self.concepts.T
        recipe = self.recipe
        imitated = kl_div(log_softmax(logits, dim=1), answers, reduction="sum", log_target=True)
        known = _mixed_cross_entropy(logits, views, recipe.label_smoothing)
        distance = (1 - (features * wanted).sum(1)).sum()
        return (1 - recipe.imitation) * known + recipe.imitation * imitated + recipe.feature * distance

    def texts(self, model: "CLIP", pull: bool, generator: torch.Generator | None) -> Tensor | None:
        """Nothing: the text tower is the teacher's."""
        return None


def _mixed_cross_entropy(logits: Tensor, views: Views, label_smoothing: float) -> Tensor:
    """The cross entropies of both labels, each by its share of the picture, summed over the pictures."""
    own, other = (
        cross_entropy(logits, label, label_smoothing=label_smoothing, reduction="none")
        for label in (views.label, views.other)
    )
    return (views.share * own + (1 - views.share) * other).sum()

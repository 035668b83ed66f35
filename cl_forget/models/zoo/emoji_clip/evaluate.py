"""The scores on the model cards of emoji-clip and emoji-clip-rn, measured through open_clip itself.

python -m cl_forget.models.zoo.emoji_clip.evaluate            # both shipped models
python -m cl_forget.models.zoo.emoji_clip.evaluate folder     # another folder of the same format
python -m cl_forget.models.zoo.emoji_clip.evaluate --card     # and write the tables of the model cards
"""

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.models.zoo._pretraining import write_table
from cl_forget.models.zoo.emoji_clip import FOLDER, TEACHER
from cl_forget.models.zoo.emoji_clip.captions import DIGITS

if TYPE_CHECKING:
    from open_clip.model import CLIP

_MEANING = {
    "pretrain": "pictures of pre-training, among {concepts} seen concepts",
    "held_out_pair": "held-out (concept, style) pairs, among {concepts}",
    "held_out_pair_top5": "held-out pairs, the concept among the best five",
    "held_out_pair_anyone": "held-out pairs, where a person, a man and a woman doing the same count as one",
    "held_out_pair_things": "held-out pairs without people, still among {concepts}",
    "fluent-emoji": "unseen 3-D style, among {concepts}",
    "fluent-emoji-high-contrast": "unseen line style, among {concepts}",
    "handwritten_digits": 'scikit-learn\'s handwritten digits, among ten, template "the number {{}}."',
}
_SOMEONE = re.compile(r"\b(person|people|man|men|woman|women|boy|girl)\b")


def anyone(name: str) -> str:
    """A concept's name without gender: "woman biking" and "person biking" both become "someone biking"."""
    return _SOMEONE.sub("someone", name)


def handwritten_digits(model: "CLIP", tokenizer: Any, template: str = "the number {}.") -> float:
    """Zero-shot accuracy (0-1) on scikit-learn's 1,797 digits, enlarged from 8 x 8 to 32 x 32, dark on
    white."""
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import interpolate

    from cl_forget.models.zoo.emoji_clip.towers import normalised

    digits = load_digits()
    paper = 1 - torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = interpolate(paper, size=(32, 32), mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(tokenizer([template.format(name) for name in DIGITS[:10]]), normalize=True)
        best = (model.encode_image(normalised(images), normalize=True) @ texts.T).argmax(1)
    return (best == torch.tensor(digits.target)).float().mean().item()


def evaluate(folder: Path) -> dict[str, float]:
    """Zero-shot accuracies (0-1): emoji among all seen concepts by split, and handwritten digits among
    ten."""
    import open_clip
    import torch

    from cl_forget.models.zoo.emoji_clip.pretrain import all_scores, zero_shot
    from cl_forget.streams.emoji import load

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    data = load()
    pairs = data.held_out_pair
    people = torch.tensor([concept.group == "people-body" for concept in data.concepts])[data.concept]
    return {
        "pretrain": zero_shot(model, tokenizer, data, data.pretrain),
        "held_out_pair_top5": zero_shot(model, tokenizer, data, pairs, best_of=5),
        "held_out_pair_anyone": zero_shot(model, tokenizer, data, pairs, same=anyone),
        "held_out_pair_things": zero_shot(model, tokenizer, data, pairs & ~people),
        **all_scores(model, tokenizer, data),
        "handwritten_digits": handwritten_digits(model, tokenizer),
    }


def write_card(scores: dict[str, float], card: Path) -> None:
    """Replace the table of scores of a model card, between its two marks."""
    from cl_forget.streams.emoji import load

    concepts = f"{sum(not concept.held_out for concept in load().concepts):,}"
    rows = [
        ("zero-shot top-1", "accuracy"),
        *(
            (meaning.format(concepts=concepts), f"{100 * scores[name]:.1f} %")
            for name, meaning in _MEANING.items()
        ),
    ]
    write_table(card, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", default=[FOLDER, TEACHER])
    parser.add_argument("--card", action="store_true", help="write the scores into each folder's README.md")
    options = parser.parse_args()
    for place in options.folders:
        measured = evaluate(place)
        print(place.name, json.dumps({name: round(score, 4) for name, score in measured.items()}, indent=1))
        if options.card:
            write_card(measured, place / "README.md")

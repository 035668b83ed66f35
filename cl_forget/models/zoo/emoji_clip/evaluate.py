"""The scores on the model card of emoji-clip, measured through open_clip itself.

python -m cl_forget.models.zoo.emoji_clip.evaluate            # the shipped model
python -m cl_forget.models.zoo.emoji_clip.evaluate folder     # another folder of the same format
python -m cl_forget.models.zoo.emoji_clip.evaluate --card     # and write the table of the model card
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.models.zoo._pretraining import write_table
from cl_forget.models.zoo.emoji_clip import FOLDER
from cl_forget.models.zoo.emoji_clip.captions import DIGITS

if TYPE_CHECKING:
    from open_clip.model import CLIP

_MEANING = {
    "pretrain": "pictures of pre-training, among 1,587 seen concepts",
    "held_out_pair": "held-out (concept, style) pairs, among 1,587",
    "held_out_pair_top5": "held-out pairs, the concept among the best five",
    "fluent-emoji": "unseen 3-D style, among 1,587",
    "fluent-emoji-high-contrast": "unseen line style, among 1,587",
    "handwritten_digits": 'scikit-learn\'s handwritten digits, among ten, template "the number {}."',
}


def handwritten_digits(model: "CLIP", tokenizer: Any, template: str = "the number {}.") -> float:
    """Zero-shot accuracy (0-1) on scikit-learn's 1,797 digits, enlarged from 8 x 8 to 32 x 32, dark on
    white."""
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import interpolate

    digits = load_digits()
    paper = 1 - torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = interpolate(paper, size=(32, 32), mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(tokenizer([template.format(name) for name in DIGITS[:10]]), normalize=True)
        best = (model.encode_image((images - 0.5) / 0.5, normalize=True) @ texts.T).argmax(1)
    return (best == torch.tensor(digits.target)).float().mean().item()


def evaluate(folder: Path = FOLDER) -> dict[str, float]:
    """Zero-shot accuracies (0-1): emoji among all seen concepts by split, and handwritten digits among
    ten."""
    import open_clip

    from cl_forget.models.zoo.emoji_clip.pretrain import all_scores, zero_shot
    from cl_forget.streams.emoji import load

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    data = load()
    return {
        "pretrain": zero_shot(model, tokenizer, data, data.pretrain),
        "held_out_pair_top5": zero_shot(model, tokenizer, data, data.held_out_pair, best_of=5),
        **all_scores(model, tokenizer, data),
        "handwritten_digits": handwritten_digits(model, tokenizer),
    }


def write_card(scores: dict[str, float], card: Path) -> None:
    """Replace the table of scores of a model card, between its two marks."""
    rows = [
        ("zero-shot top-1", "accuracy"),
        *((_MEANING[name], f"{100 * score:.1f} %") for name, score in scores.items()),
    ]
    write_table(card, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--card", action="store_true", help="write the scores into the folder's README.md")
    options = parser.parse_args()
    measured = evaluate(options.folder)
    print(json.dumps({name: round(score, 4) for name, score in measured.items()}, indent=1))
    if options.card:
        write_card(measured, options.folder / "README.md")

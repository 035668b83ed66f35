"""emoji-clip: a small open_clip model, pre-trained on the embedded emoji pictures. Recipe and scores are in
`README.md`."""

from pathlib import Path

#: The model in open_clip's own folder format: `open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")`.
FOLDER = Path(__file__).parent
#: Its convolutional twin, whose outputs it learns, too; that one's recipe imports this one's.
TEACHER = FOLDER.parent / "emoji_clip_rn"

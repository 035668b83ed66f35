"""emoji-clip-rn: a small open_clip ResNet model, pre-trained on the embedded emoji pictures. Scores are in
`README.md`; the recipe is shared with emoji-clip."""

from pathlib import Path

#: The model in open_clip's own folder format: `open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")`.
FOLDER = Path(__file__).parent

"""pico-lm: a small Llama, pre-trained on exact-answer skills. Recipe and scores are in `README.md`."""

from pathlib import Path

#: The model in transformers' own folder format: `AutoModelForCausalLM.from_pretrained(FOLDER)`.
FOLDER = Path(__file__).parent

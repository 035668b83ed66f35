"""What pre-training says about a picture, and the tokenizer that reads it."""

from pathlib import Path

from cl_forget.streams.emoji import Concept

CONTEXT_LENGTH = 16  # tokens, start and end included
VOCABULARY = 3072

#: Half of all captions name the concept, bare or in one of these; the template that evaluation uses comes
#  first.
NAME_TEMPLATES = (
    "an emoji of {}.",
    "{}",
    "a picture of {}.",
    "a drawing of {}.",
    "an icon of {}.",
    "a photo of {}.",
    "a handwritten {}.",
    "the symbol for {}.",
)
#: Words for the figures, by value.
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

#: Words that users' class names are likely to hold: each becomes one token or a few, though no caption
#  teaches it.
_COMMON_WORDS = """
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty
seventy eighty ninety hundred thousand first second third fourth fifth half quarter past o'clock hour minute
noon midnight morning evening digit number letter capital lowercase uppercase character handwritten glyph
font sketch painting cartoon quickdraw infographic red orange yellow green blue purple violet pink brown
black white grey gray cyan magenta gold silver beige turquoise airplane automobile bird cat deer dog frog
horse ship truck apple aquarium baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant fish flatfish forest fox girl hamster house kangaroo keyboard lamp lawn mower leopard lion
lizard lobster man maple motorcycle mountain mouse mushroom oak orchid otter palm pear pickup pine plain
plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
snake spider squirrel streetcar sunflower pepper table tank telephone television tiger tractor train trout
tulip turtle wardrobe whale willow wolf woman worm shirt trouser pullover dress coat sandal sneaker bag boot
circle square triangle pentagon hexagon star heart cross line curve texture satellite river residential
highway
"""


def captions(concept: Concept) -> tuple[list[str], list[str]]:
    """Captions of one concept: those by its name, and looser ones by keywords and Unicode groups."""
    names = [concept.name]
    if concept.subgroup == "keycap" and concept.slug.removeprefix("keycap-").isdigit():
        figure = concept.slug.removeprefix("keycap-")
        digit = DIGITS[int(figure)]
        names += [digit, f"the digit {digit}", f"the number {digit}", figure]
    group, subgroup = (label.replace("-", " ") for label in (concept.group, concept.subgroup))
    by_name = [template.format(name) for name in names for template in NAME_TEMPLATES]
    loose = [f"{concept.name}, a kind of {subgroup}.", f"{concept.name}, {group}."]
    loose += [f"{concept.name}, {keyword}." for keyword in concept.keywords]
    if len(concept.keywords) > 1:
        loose += [", ".join(concept.keywords[:4]), f"{', '.join(concept.keywords[-3:])}, {subgroup}."]
    return by_name, loose


def train_tokenizer(texts: list[str], folder: Path) -> None:
    """Train a byte-level BPE tokenizer on captions and save it in `folder` in the format of transformers.

    No text is unknown to it: what the captions never held falls apart into bytes. The end token has the
    highest number, because open_clip finds the end of a text by the largest token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=["<pad>", "<start>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # A word counts as often as it is given; 8 is enough to outweigh rare caption fragments.
    tokenizer.train_from_iterator([*texts, *(_COMMON_WORDS.split() * 8)], trainer)
    tokenizer.add_special_tokens(["<end>"])
    numbers = [(token, tokenizer.token_to_id(token)) for token in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=numbers
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CONTEXT_LENGTH,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(str(folder))

"""The image sets that protocols are made of: where their files lie, and how their classes are asked for.

Prompts and class names are those of CLIP's own zero-shot evaluation (Radford et al. 2103.00020, `data/prompts.md` of
its code), which MTIL and the eight tasks of task arithmetic use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.streams import load_stream
from cl_forget.streams._hub import is_saved
from cl_forget.streams.base import Experience
from cl_forget.streams.folder import folder
from cl_forget.streams.image_tables import images
from cl_forget.streams.torchvision_sets import MissingFilesError, torchvision

EMBEDDED = Path("embedded")
"""In the place of a folder: the stand-ins that ship with the package."""

TWIN_LIMIT = 40  # pictures of a stand-in's split, so that an arm takes a minute or two


@dataclass(frozen=True)
class ImageSet:
    """One data set of a protocol.

    Attributes:
        name: of the task, and of the folder below `root` that its pictures may lie in.
        twin: the embedded task that stands in for it.
        templates: prompts with one `{}`.
        torchvision: the class that reads it; None where torchvision has none.
        readable: what the source calls a class -> what a prompt calls it, where the two differ.
        labels: the classes in the order of their labels, where torchvision does not name them.
        downloads: whether torchvision still finds its files on the web.
    """

    name: str
    twin: str
    templates: tuple[str, ...]
    torchvision: str | None = None
    readable: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    downloads: bool = True

    def load(self, what: str, root: Path, download: bool, limit: int | None) -> Experience:
        """The task, from torchvision's files, a folder, a saved table, or its stand-in.

        Args:
            what: the protocol, for messages.
            root: where the files are; `EMBEDDED` for the stand-in.
            download: fetch what torchvision can fetch.
            limit: at most this many images in each split.

        Raises:
            UserError: the set is nowhere below `root`, or cannot be read.
        """
        if root == EMBEDDED:
            [experience] = load_stream({self.twin: {"limit": limit or TWIN_LIMIT}})
            return replace(experience, shifted={})  # as the sets themselves have none
        place = root.expanduser() / self.name
        try:
            experience = self._of_torchvision(root, download, limit)
        except MissingFilesError:
            if not place.is_dir():
                raise UserError(self._missing(what, root, place)) from None
            experience = self._of_folder(place, limit)
        assert experience.labels is not None
        classes = tuple(self.readable.get(name, name) for name in experience.labels.classes)
        return replace(experience, labels=replace(experience.labels, classes=classes))

    def _of_torchvision(self, root: Path, download: bool, limit: int | None) -> Experience:
        if self.torchvision is None:
            raise MissingFilesError(f"torchvision does not have '{self.name}'.")
        fetch = download and self.downloads
        [experience] = torchvision(
            self.torchvision, root, self.name, self.labels, self.templates, download=fetch, limit=limit
        )
        return experience

    def _of_folder(self, place: Path, limit: int | None) -> Experience:
        if is_saved(place):
            return images(str(place), name=self.name, templates=self.templates, limit=limit)[0]
        return folder(place, self.name, templates=self.templates, limit=limit)[0]

    def _missing(self, what: str, root: Path, place: Path) -> str:
        first = f"torchvision's {self.torchvision} in '{root}', or " if self.torchvision else ""
        fetched = ", or set `download: true`" if self.torchvision and self.downloads else ""
        return (
            f"{what} needs the set '{self.name}', which is not there: put {first}its pictures in '{place}' (one "
            f"sub-folder per class, or as `datasets` saves it){fetched}; `root: embedded` runs a stand-in."
        )


def _both(*forms: str) -> tuple[str, ...]:
    """Every form with "a" and then with "the" in the place of @."""
    return tuple(form.replace("@", article) for article in ("a", "the") for form in forms)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";"))


DIGITS = tuple("0123456789")
NUMBER = ('a photo of the number: "{}".',)
CARS = (
    "a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!", "a photo of my dirty {}.",
    "a photo of my clean {}.", "a photo of my new {}.", "a photo of my old {}.",
)  # fmt: skip
RENDITIONS = _both(
    "a photo of @ {}.", "a painting of @ {}.", "@ plastic {}.", "a sculpture of @ {}.", "a sketch of @ {}.",
    "a tattoo of @ {}.", "@ toy {}.", "a rendition of @ {}.", "@ embroidered {}.", "@ cartoon {}.",
    "@ {} in a video game.", "@ plushie {}.", "@ origami {}.", "art of @ {}.", "graffiti of @ {}.",
    "a drawing of @ {}.", "a doodle of @ {}.",
)  # fmt: skip
SMALL_PHOTOS = _both(
    "a photo of @ {}.", "a blurry photo of @ {}.", "a black and white photo of @ {}.",
    "a low contrast photo of @ {}.", "a high contrast photo of @ {}.", "a bad photo of @ {}.",
    "a good photo of @ {}.", "a photo of @ small {}.", "a photo of @ big {}.",
)  # fmt: skip
TEXTURES = _both(
    "a photo of @ {} texture.",
    "a photo of @ {} pattern.",
    "a photo of @ {} thing.",
    "a photo of @ {} object.",
)
FROM_ABOVE = tuple(
    f"{kind} {view} of {article}{{}}."
    for article in ("", "a ", "the ")
    for view in ("imagery", "photo", "view")
    for kind in ("satellite", "aerial")
)

CALTECH = {
    "Faces": "off-center face", "Faces easy": "centered face", "Leopards": "leopard", "Motorbikes": "motorbike",
    "airplanes": "airplane", "car side": "side of a car", "cougar body": "body of a cougar cat",
    "cougar face": "face of a cougar cat", "crocodile head": "head of a crocodile",
    "flamingo head": "head of a flamingo", "snoopy": "snoopy (cartoon beagle)", "yin yang": "yin and yang symbol",
}  # fmt: skip
LAND = {
    "AnnualCrop": "annual crop land", "Forest": "forest", "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road", "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land", "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments", "River": "river", "SeaLake": "lake or sea",
}  # fmt: skip
FLOWERS = _names(
    "pink primrose; hard-leaved pocket orchid; canterbury bells; sweet pea; english marigold; tiger lily; "
    "moon orchid; bird of paradise; monkshood; globe thistle; snapdragon; colt's foot; king protea; spear "
    "thistle; yellow iris; globe-flower; purple coneflower; peruvian lily; balloon flower; giant white arum "
    "lily; fire lily; pincushion flower; fritillary; red ginger; grape hyacinth; corn poppy; prince of wales "
    "feathers; stemless gentian; artichoke; sweet william; carnation; garden phlox; love in the mist; mexican "
    "aster; alpine sea holly; ruby-lipped cattleya; cape flower; great masterwort; siam tulip; lenten rose; "
    "barbeton daisy; daffodil; sword lily; poinsettia; bolero deep blue; wallflower; marigold; buttercup; "
    "oxeye daisy; common dandelion; petunia; wild pansy; primula; sunflower; pelargonium; bishop of llandaff; "
    "gaura; geranium; orange dahlia; pink-yellow dahlia; cautleya spicata; japanese anemone; black-eyed "
    "susan; silverbush; californian poppy; osteospermum; spring crocus; bearded iris; windflower; tree poppy; "
    "gazania; azalea; water lily; rose; thorn apple; morning glory; passion flower; lotus; toad lily; "
    "anthurium; frangipani; clematis; hibiscus; columbine; desert-rose; tree mallow; magnolia; cyclamen; "
    "watercress; canna lily; hippeastrum; bee balm; ball moss; foxglove; bougainvillea; camellia; mallow; "
    "mexican petunia; bromelia; blanket flower; trumpet creeper; blackberry lily"
)
RING, WARNING = "red and white circle", "red and white triangle"
SIGNS = (
    *(f"{RING} {limit} kph speed limit" for limit in (20, 30, 50, 60, 70, 80)),
    "end / de-restriction of 80 kph speed limit",
    *(f"{RING} {limit} kph speed limit" for limit in (100, 120)),
    f"{RING} red car and black car no passing", f"{RING} red truck and black car no passing",
    f"{WARNING} road intersection warning", "white and yellow diamond priority road",
    "red and white upside down triangle yield right-of-way", "stop", f"empty {RING}", f"{RING} no truck entry",
    "red circle with white horizonal stripe no entry", f"{WARNING} with exclamation mark warning",
    f"{WARNING} with black left curve approaching warning", f"{WARNING} with black right curve approaching warning",
    f"{WARNING} with black double curve approaching warning", f"{WARNING} rough / bumpy road warning",
    f"{WARNING} car skidding / slipping warning", f"{WARNING} with merging / narrow lanes warning",
    f"{WARNING} with person digging / construction / road work warning",
    f"{WARNING} with traffic light approaching warning", f"{WARNING} with person walking warning",
    f"{WARNING} with child and person walking warning", f"{WARNING} with bicyle warning",
    f"{WARNING} with snowflake / ice warning", f"{WARNING} with deer warning",
    "white circle with gray strike bar no speed limit", "blue circle with white right turn arrow mandatory",
    "blue circle with white left turn arrow mandatory", "blue circle with white forward arrow mandatory",
    "blue circle with white forward or right turn arrow mandatory",
    "blue circle with white forward or left turn arrow mandatory",
    "blue circle with white keep right arrow mandatory", "blue circle with white keep left arrow mandatory",
    "blue circle with white arrows indicating a traffic circle",
    "white circle with gray strike bar indicating no passing for cars has ended",
    "white circle with gray strike bar indicating no passing for trucks has ended",
)  # fmt: skip

SETS = {
    own.name: own
    for own in (
        ImageSet("aircraft", "flags", _both("a photo of @ {}, a type of aircraft."), "FGVCAircraft"),
        ImageSet("caltech101", "letters", RENDITIONS, "Caltech101", CALTECH),
        ImageSet("cifar100", "cyrillic", SMALL_PHOTOS, "CIFAR100"),
        ImageSet("dtd", "braille", TEXTURES, "DTD"),
        ImageSet(
            "eurosat",
            "colours",
            tuple(f"a centered satellite photo of {article}{{}}." for article in ("", "a ", "the ")),
            "EuroSAT",
            LAND,
        ),
        ImageSet("flowers", "greek", ("a photo of a {}, a type of flower.",), "Flowers102", labels=FLOWERS),
        ImageSet("food", "counting", ("a photo of a {}, a type of food.",), "Food101"),
        ImageSet("mnist", "digits", NUMBER, "MNIST"),
        ImageSet("oxford-pet", "arrows", ("a photo of a {}, a type of pet.",), "OxfordIIITPet"),
        ImageSet(
            "stanford-cars",
            "dominoes",
            ("a photo of a {}, a type of car.", *CARS),
            "StanfordCars",
            downloads=False,
        ),
        ImageSet("sun397", "cards", _both("a photo of @ {}."), "SUN397"),
        ImageSet("svhn", "dice", NUMBER, "SVHN", labels=DIGITS),
        ImageSet("resisc45", "clocks", FROM_ABOVE),
        ImageSet(
            "gtsrb",
            "arrows",
            tuple(
                f'a {kind} photo of a "{{}}" traffic sign.' for kind in ("zoomed in", "centered", "close up")
            ),
            "GTSRB",
            labels=SIGNS,
        ),
    )
}
"""Every set by its name, as MTIL has it."""

"""What a tree of image folders means: which folders are splits, which are classes, and which are neither.

A tree is walked once; everything else is decided from the names found. What could be read in two ways is
refused with the option that settles it, because the wrong reading trains a model on the wrong classes.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.streams.images import SUFFIXES, printable
from cl_forget.streams.own import few

#: Folder names that mean a split rather than a class.
SPLIT_NAMES = {
    **{
        "train": "train",
        "training": "train",
        "val": "validation",
        "valid": "validation",
        "dev": "validation",
    },
    **{"validation": "validation", "test": "test", "testing": "test"},
    **{"eval": "validation", "evaluation": "validation"},
}
#: What systems and programs leave behind; names that begin with a point are left out, too.
LITTER = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
    | {"lost+found", "__pycache__", "icon\r"}
)

Parts = tuple[str, ...]
"""A path inside the tree, name by name."""


@dataclass
class Tree:
    """What a folder holds, litter left out.

    Attributes:
        root: the folder.
        images: every image below it, in the order of their names.
        folders: every folder below it.
        others: ending -> files that are not read as images.
        links: links that lead nowhere or in a circle.
    """

    root: Path
    images: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    links: int = 0

    def below(self, prefix: Parts) -> Iterator[Parts]:
        """The images below a folder, as paths inside it."""
        depth = len(prefix)
        return (image[depth:] for image in self.images if image[:depth] == prefix)

    def inside(self, prefix: Parts) -> list[str]:
        """The folders right below a folder."""
        depth = len(prefix)
        return [own[-1] for own in self.folders if len(own) == depth + 1 and own[:depth] == prefix]

    def holds(self, prefix: Parts) -> dict[str, Holds]:
        """What each folder right below a folder holds; one pass, as there may be a million images."""
        found = {name: Holds() for name in self.inside(prefix)}
        for image in self.below(prefix):
            if len(image) == 2:
                found[image[0]].direct += 1
            elif len(image) > 2:
                found[image[0]].folders.setdefault(image[1])
                found[image[0]].deep |= len(image) > 3
        return found

    def direct(self, prefix: Parts) -> int:
        """How many images a folder holds itself."""
        return sum(len(image) == 1 for image in self.below(prefix))


@dataclass
class Holds:
    """Images of a folder: how many it holds itself, which of its folders hold more, in order, and whether these
    folders have folders with images, too."""

    direct: int = 0
    folders: dict[str, None] = field(default_factory=dict)
    deep: bool = False


def walk(root: Path) -> Tree:
    """Everything below a folder; links to folders are followed, but never in a circle.

    Raises:
        UserError: a folder cannot be read.
    """
    tree = Tree(root)
    _walk(tree, root, (), frozenset())
    return tree


def _walk(tree: Tree, folder: Path, parts: Parts, above: frozenset[tuple[int, int]]) -> None:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    except FileNotFoundError:
        raise UserError(f"folder '{printable(folder)}' does not exist: correct the path.") from None
    except OSError as error:
        raise UserError(
            f"folder '{printable(folder)}' cannot be read ({error.strerror}): give another."
        ) from None
    above |= {(status.st_dev, status.st_ino)}
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in LITTER:
            continue
        own = (*parts, entry.name)
        try:
            target = entry.stat()
        except OSError:  # a link to nothing, or one of a circle of links
            tree.links += 1
            continue
        if not entry.is_dir():
            _file(tree, own)
        elif (target.st_dev, target.st_ino) in above:
            tree.links += 1
        else:
            tree.folders.append(own)
            _walk(tree, Path(entry.path), own, above)


def _file(tree: Tree, parts: Parts) -> None:
    suffix = Path(parts[-1]).suffix.lower()
    if suffix in SUFFIXES:
        tree.images.append(parts)
    else:
        tree.others[suffix or "no ending"] += 1


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts numbers in names as numbers: 2 before 10."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece], name


def normal(name: str) -> str:
    """A folder's name as a class: accents in one form, however the file system writes them."""
    return unicodedata.normalize("NFC", name)


# -- splits --------------------------------------------------------------------------------------------


def find_splits(tree: Tree, named: Mapping[str, str] | None, notes: list[str]) -> dict[str, Parts]:
    """The trees of classes to read: of each split, or the whole as "train".

    Args:
        tree: the folder.
        named: the user's word: train, validation, test -> a folder; empty where all folders are classes.
        notes: gets what is left out.

    Raises:
        UserError: the folders can be read in two ways, or in none.
    """
    if named is not None:
        return _as_told(tree, named, notes)
    tops = tree.holds(())
    splits = [name for name in tops if name.lower() in SPLIT_NAMES]
    if not splits:
        _refuse_like_splits(tree, tops)
        _siblings(tree.root, notes)
        return {"train": ()}
    others = [name for name, holds in tops.items() if name not in splits and (holds.direct or holds.folders)]
    flat = [name for name in splits if tops[name].direct and not tops[name].folders]
    if len(flat) == 1 == len(splits) and others:
        notes.append(
            f"the folder '{flat[0]}' holds images itself, so it is taken for a class, not for a split"
        )
        return {"train": ()}
    where = f"folder '{printable(tree.root)}'"
    if flat:
        raise UserError(
            f"{where}: {flat[0]} holds images but no class folders; put each class into a folder of its own, or "
            "leave it out by naming the rest, as `splits: {train: train}`."
        )
    if others and len(splits) == 1 and not _alike(tops, splits[0], others):
        raise UserError(
            f"{where} holds {splits[0]} beside {few(others)}: say with `splits: {{train: {splits[0]}}}` that it is "
            "the training data, or with `splits: {}` that all are classes."
        )
    if others:
        notes.append(
            f"{few(others)} beside the splits {few(splits)} is not read; give it as `shifted: {{NAME: FOLDER}}` if "
            "it is another test set"
        )
    return _unique(tree.root, splits)


def _refuse_like_splits(tree: Tree, tops: Mapping[str, Holds]) -> None:
    """Refuse to make classes of `train2017` and `val2017`, of `seg_train` and `seg_test`."""
    found: dict[str, str] = {}
    for name, holds in tops.items():
        words = (re.sub(r"(set|data|images|imgs)$", "", word) for word in re.split(r"[^a-z]+", name.lower()))
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
        if split is not None and (holds.direct or holds.folders):
            found.setdefault(split, _down(tree, name, holds))
    if len(found) < 2 or "train" not in found:
        return
    in_order = sorted(found.items(), key=lambda own: own[0] != "train")
    told = ", ".join(f"{split}: {folder}" for split, folder in in_order)
    raise UserError(
        f"folder '{printable(tree.root)}': {few([folder for _, folder in in_order])} look like splits; say "
        f"`splits: {{{told}}}`, or `splits: {{}}` if they are classes."
    )


def _down(tree: Tree, name: str, holds: Holds) -> str:
    """Where in a folder the classes lie: a folder that holds one folder of folders only wraps it."""
    parts: Parts = (name,)
    while not holds.direct and len(holds.folders) == 1 and holds.deep:
        parts += tuple(holds.folders)
        inner = tree.holds(parts[:-1])[parts[-1]]
        if inner.direct or not inner.folders:
            break
        holds = inner
    return "/".join(parts)


def _alike(tops: Mapping[str, Holds], split: str, others: list[str]) -> bool:
    """Whether the other folders have classes of the split, which makes them splits, too."""
    classes = {normal(name) for name in tops[split].folders}
    return all(classes & {normal(name) for name in tops[other].folders} for other in others)


def _unique(root: Path, names: list[str]) -> dict[str, Parts]:
    trees: dict[str, Parts] = {}
    for name in names:
        split = SPLIT_NAMES[name.lower()]
        if split in trees:
            raise UserError(
                f"folder '{printable(root)}' holds both {trees[split][0]} and {name}: keep one, or choose with "
                "`splits`."
            )
        trees[split] = (name,)
    if "train" not in trees:
        raise UserError(f"folder '{printable(root)}' has no train folder beside {', '.join(names)}.")
    return trees


def _as_told(tree: Tree, named: Mapping[str, str], notes: list[str]) -> dict[str, Parts]:
    trees: dict[str, Parts] = {}
    for split, folder in named.items():
        if split not in ("train", "validation", "test"):
            raise UserError(
                f"folder '{printable(tree.root)}': splits are train, validation and test, not '{split}'; further "
                "test sets go under `shifted`."
            )
        parts = tuple(part for part in Path(folder).parts if part not in (".",))
        if parts and parts not in tree.folders:
            known = [own[0] for own in tree.folders if len(own) == 1]
            raise UserError(
                f"folder '{printable(tree.root)}' holds no '{folder}'.{closest(folder, known)} It holds: "
                f"{few(known)}."
            )
        trees[split] = parts
    if not trees:
        return {"train": ()}
    if "train" not in trees:
        raise UserError(f"folder '{printable(tree.root)}': splits must name the folder of train.")
    rest = [name for name in tree.inside(()) if all(parts[:1] != (name,) for parts in trees.values())]
    if rest and () not in trees.values():
        notes.append(f"{few(rest)} is not read")
    return trees


def _siblings(root: Path, notes: list[str]) -> None:
    """Say so where the folder given is one split of a larger whole."""
    if root.name.lower() not in SPLIT_NAMES:
        return
    beside = root.absolute().parent
    others = sorted(
        entry.name
        for entry in beside.iterdir()
        if entry.is_dir() and entry.name.lower() in SPLIT_NAMES and entry.name != root.name
    )
    if others:
        notes.append(
            f"{few(others)} beside {root.name} is not read; give '{printable(beside)}' as path to use the splits"
        )


# -- classes -------------------------------------------------------------------------------------------


def class_folders(tree: Tree, prefix: Parts, nested: bool, strict: bool, notes: list[str]) -> list[str]:
    """The class folders of a tree of classes, numbers in their names sorted as numbers.

    Args:
        tree: the folder.
        prefix: where in it the classes lie.
        nested: the user's word that what lies deeper belongs to the class folder above it.
        strict: whether a class folder without images is refused.
        notes: gets what is left out.

    Raises:
        UserError: there are no class folders, one is empty, or the classes lie a level higher or lower.
    """
    place = printable(tree.root.joinpath(*prefix))
    holds, direct = tree.holds(prefix), tree.direct(prefix)
    names = list(holds)
    if not names or (direct and not any(own.direct or own.folders for own in holds.values())):
        raise UserError(_no_classes(tree, prefix, place, direct))
    empty = [name for name in names if not holds[name].direct and not holds[name].folders]
    if empty and strict:
        raise UserError(
            f"class folder '{place}/{printable(empty[0])}' holds no images ({', '.join(sorted(SUFFIXES))}): add some "
            "or remove it."
        )
    names = [name for name in names if name not in empty]
    if not nested:
        _refuse_too_high(place, {name: holds[name] for name in names})
    if direct:
        notes.append(f"{direct:,} images lie in '{place}' outside the class folders and are not read")
    return names


def _no_classes(tree: Tree, prefix: Parts, place: str, images: int) -> str:
    message = f"folder '{place}' has no class folders: put each class into a folder of its own"
    above = tree.root.absolute().joinpath(*prefix).parent
    return message + (
        f", or give the folder of the classes, such as '{printable(above)}'." if images else "."
    )


def _refuse_too_high(place: str, holds: Mapping[str, Holds]) -> None:
    """Refuse a tree whose class folders hold folders of images only: those are probably the classes."""
    if not holds or any(own.direct for own in holds.values()):
        return
    first = next(iter(holds))
    many = next((name for name, own in holds.items() if len(own.folders) > 1), first)
    inside = list(holds[many].folders)
    wraps = any(own.deep for own in holds.values())
    if len(inside) < 2 and len(holds) > 1 and inside[0].lower() not in SPLIT_NAMES and not wraps:
        return  # each class keeps its images in one folder of its own, as Tiny ImageNet does
    raise UserError(
        f"folder '{place}' is a level too high: {printable(many)} holds no images but the folders {few(inside)}; "
        f"give '{place}/{printable(many)}', or say `nested: true` if all below {printable(many)} is one class."
    )


def leftovers(tree: Tree) -> list[str]:
    """What to say of files that are not read."""
    notes = []
    if tree.others:
        kinds = few([f"{suffix} {count:,}" for suffix, count in tree.others.most_common()])
        notes.append(f"{sum(tree.others.values()):,} files are not images that can be read ({kinds})")
    if tree.links:
        notes.append(f"{tree.links:,} links lead nowhere or in a circle and are not followed")
    return notes

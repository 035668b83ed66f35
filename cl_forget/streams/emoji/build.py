"""The recipe of the emoji data set: nine emoji families, rasterised to 32 x 32 RGBA, with fixed splits.

    python -m cl_forget.streams.emoji.build                  # build, compare with the shipped data
    python -m cl_forget.streams.emoji.build --output folder  # keep the rebuilt files
    python -m cl_forget.streams.emoji.build --packages dir   # use the tarballs of an earlier `npm pack`

It needs `npm`, and the Python package `resvg-py` at the version pinned below. A second build gives the same
bytes: package versions, rasteriser and PNG encoder (Pillow) are pinned, and every choice is made by hashing
names, never by a random generator.
"""

import argparse
import collections
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from cl_forget.ground.errors import UserError

# style -> (npm package, version). Seen styles first; the order is the style index of the data set.
PACKAGES = {
    "noto": ("@iconify-json/noto", "1.2.9"),
    "noto-v1": ("@iconify-json/noto-v1", "1.2.5"),
    "twemoji": ("@iconify-json/twemoji", "1.2.5"),
    "openmoji": ("@iconify-json/openmoji", "1.2.29"),
    "fluent-emoji-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "emojione": ("@iconify-json/emojione", "1.2.3"),
    "emojione-v1": ("@iconify-json/emojione-v1", "1.2.3"),
    "fluent-emoji": ("@iconify-json/fluent-emoji", "1.2.7"),
    "fluent-emoji-high-contrast": ("@iconify-json/fluent-emoji-high-contrast", "1.2.6"),
}
NAMES_PACKAGE = ("emojibase-data", "17.0.0")
RASTERISER = ("resvg_py", "0.5.0")
PNG_ENCODER = ("PIL", "13.0.0")

UNSEEN_STYLES = ("fluent-emoji", "fluent-emoji-high-contrast")
SIDE = 32  # pixels of one picture
SUPERSAMPLE = 4  # rendered at 128 x 128, then averaged over 4 x 4 boxes
COLUMNS = 48  # pictures per row of a sprite sheet
MIN_STYLES = 4  # a concept is kept when it is drawn in at least this many styles
HELD_OUT_PAIR_SHARE = 0.10
MIN_OTHER_SEEN_STYLES = 2
HELD_OUT_CONCEPTS = 100  # besides the clock faces and the country flags, which are tasks

_KEYCAPS = {"#": "hash", "*": "asterisk"}
_CLOCK_FACES = {f"{code:x}" for code in range(0x1F550, 0x1F568)}


def _hash(text: str) -> int:
    """A number that depends on `text` only: the source of every arbitrary but fixed choice."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _slug(label: str) -> str:
    label = unicodedata.normalize("NFKD", label.replace("’", "").replace("'", "").replace(".", ""))
    label = "".join(
        _KEYCAPS.get(character, character) if "keycap" in label else character for character in label
    )
    ascii_label = label.encode("ascii", "ignore").decode().lower().replace("&", "and")
    return re.sub(r"[^a-z0-9]+", "-", ascii_label).strip("-")


def _human_name(label: str) -> str:
    """CLDR puts the kind before a colon ("flag: Japan"); people say it the other way round ("flag of
    Japan")."""
    kind, _, rest = label.partition(": ")
    if not rest:
        return label
    if kind == "flag":
        return f"flag of {rest}"
    if kind == "keycap":
        return f"keycap {_KEYCAPS.get(rest, rest)}"
    return f"{kind} with {rest}"


def _code_points(hexcode: str) -> str:
    """Comparable code points: presentation selectors and joiners are written or left out at will by the
    families."""
    return "-".join(part for part in hexcode.lower().split("-") if part not in ("fe0f", "200d"))


def _fetch(name: str, version: str, folder: Path) -> dict[str, Any]:
    """Every JSON file of one pinned npm package, parsed, by its path inside the package."""
    tarball = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if not tarball.exists():
        try:
            command = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(folder)]
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            raise UserError(
                "the emoji recipe needs the command `npm`: install Node.js, then run it again"
            ) from None
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.decode().strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"npm could not fetch {name}@{version}: {reason}") from None
    with tarfile.open(tarball) as archive:
        wanted = [member for member in archive if re.search(r"package/(?:en/|meta/)?\w+\.json$", member.name)]
        files = {member.name.removeprefix("package/"): archive.extractfile(member) for member in wanted}
        return {path: json.load(file) for path, file in files.items() if file}


def _read_concepts(files: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Emoji without skin tones, by comparable code points, in Unicode order."""
    meta = files["meta/groups.json"]
    listed = [
        entry
        for entry in files["en/data.json"]
        if meta["groups"].get(str(entry.get("group"))) not in (None, "component")
    ]
    concepts = {}
    for entry in sorted(listed, key=lambda entry: entry["order"]):
        label = entry["label"]
        concepts[_code_points(entry["hexcode"])] = {
            "slug": _slug(label),
            "name": _human_name(label),
            "keywords": [tag for tag in entry.get("tags", []) if tag.lower() != label.lower()],
            "group": meta["groups"][str(entry["group"])],
            "subgroup": meta["subgroups"][str(entry["subgroup"])],
            "code_points": entry["hexcode"].lower(),
        }
    return concepts


def _match(
    families: dict[str, dict[str, Any]], concepts: dict[str, dict[str, Any]]
) -> dict[str, dict[str, str]]:
    """Which icon of each family draws which concept: style -> code points -> icon name.

    Four packages list the code points of their icons; the others only name them, so names are learnt from
    the listed ones. An alias would draw a second concept with the same picture (old families draw "person
    running" and "man running" alike), which no model can tell apart: an icon is given to one concept only,
    the one of its own name.
    """
    by_name = {concept["slug"]: code for code, concept in concepts.items()}
    for files in families.values():
        for hexcode, name in files["chars.json"].items():
            if _code_points(hexcode) in concepts:
                by_name.setdefault(name, _code_points(hexcode))
    for files in families.values():
        for alias, target in files["icons.json"].get("aliases", {}).items():
            for known, other in ((alias, target["parent"]), (target["parent"], alias)):
                if known in by_name:
                    by_name.setdefault(other, by_name[known])
    matched: dict[str, dict[str, str]] = {}
    for style, files in families.items():
        listed = {
            name: _code_points(code)
            for code, name in files["chars.json"].items()
            if _code_points(code) in concepts
        }
        icons = files["icons.json"]["icons"]
        drawn: dict[str, str] = {}
        bodies = set()
        # Exact names claim their concept before names known only through another family's alias.
        for name in sorted(
            icons,
            key=lambda name: (
                name not in listed,
                concepts.get(by_name.get(name, ""), {}).get("slug") != name,
                name,
            ),
        ):
            code = listed.get(name) or by_name.get(name)
            if code and code not in drawn and icons[name]["body"] not in bodies:
                drawn[code] = name
                bodies.add(icons[name]["body"])
        matched[style] = drawn
    return matched


def _rasterise(icon: dict[str, Any], collection: dict[str, Any]) -> np.ndarray:
    """One icon as uint8 RGBA of shape (SIDE, SIDE, 4), straight (not premultiplied) alpha."""
    import resvg_py
    from PIL import Image

    left, top, width, height = (
        icon.get(key, collection.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    side = SIDE * SUPERSAMPLE
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'width="{side}" height="{side}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )
    # System fonts differ between machines; the few icons with text elements are drawn without it.
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    fine = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA")).astype(np.uint32)  # (side, side, 4)
    boxes = fine.reshape(SIDE, SUPERSAMPLE, SIDE, SUPERSAMPLE, 4)
    alpha = boxes[..., 3:].sum(axis=(1, 3))  # (SIDE, SIDE, 1), at most 255 * 16
    colour = (boxes[..., :3] * boxes[..., 3:]).sum(axis=(1, 3))
    # Integer arithmetic with rounding, so that no floating-point mode can change a byte.
    colour = (colour + alpha // 2) // np.maximum(alpha, 1)
    samples = SUPERSAMPLE**2
    return np.concatenate([colour, (alpha + samples // 2) // samples], axis=2).astype(np.uint8)


def _sheet(pictures: list[np.ndarray]) -> bytes:
    """The sprite sheet of one family as PNG bytes: pictures in index order, row by row, COLUMNS to a row."""
    from PIL import Image

    rows = -(-len(pictures) // COLUMNS)
    sheet = np.zeros((rows, COLUMNS, SIDE, SIDE, 4), dtype=np.uint8)
    sheet.reshape(-1, SIDE, SIDE, 4)[: len(pictures)] = pictures
    pixels = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * SIDE, COLUMNS * SIDE, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _splits(concepts: list[dict[str, Any]], drawn: dict[str, list[str]]) -> dict[str, Any]:
    """Held-out concepts and held-out (concept, style) pairs; `drawn` gives the concept slugs of each
    style."""
    clocks = [concept["slug"] for concept in concepts if concept["code_points"] in _CLOCK_FACES]
    flags = [concept["slug"] for concept in concepts if concept["subgroup"] == "country-flag"]
    groups = collections.defaultdict(list)
    for concept in concepts:
        if concept["slug"] not in (*clocks, *flags):
            groups[concept["group"]].append(concept["slug"])
    held_out = [*clocks, *flags]
    for slugs in groups.values():
        share = round(HELD_OUT_CONCEPTS * len(slugs) / (len(concepts) - len(clocks) - len(flags)))
        held_out += sorted(slugs, key=lambda slug: _hash(f"concept {slug}"))[:share]

    seen_styles = [style for style in drawn if style not in UNSEEN_STYLES]
    left = collections.Counter(slug for style in seen_styles for slug in drawn[style])
    candidates = [(slug, style) for style in seen_styles for slug in drawn[style] if slug not in held_out]
    pairs: list[tuple[str, str]] = []
    for slug, style in sorted(candidates, key=lambda pair: _hash(f"pair {pair[0]} {pair[1]}")):
        if len(pairs) >= HELD_OUT_PAIR_SHARE * len(candidates):
            break
        if left[slug] > MIN_OTHER_SEEN_STYLES:
            left[slug] -= 1
            pairs.append((slug, style))
    by_style = {style: sorted(slug for slug, of in pairs if of == style) for style in seen_styles}
    return {
        "seen_styles": seen_styles,
        "unseen_styles": list(UNSEEN_STYLES),
        "clock_faces": clocks,
        "country_flags": flags,
        "held_out_concepts": sorted(held_out),
        "held_out_pairs": by_style,
    }


def _notice(style: str, info: dict[str, Any], pictures: int) -> str:
    package, version = PACKAGES[style]
    licence = info["license"]
    full_text = {"Apache-2.0": "../licences/Apache-2.0.txt", "MIT": "../licences/MIT.txt"}.get(
        licence["spdx"], licence["url"]
    )
    share_alike = f"This sheet is likewise under {licence['title']}.\n" if "SA" in licence["spdx"] else ""
    return (
        f'{style}.png and {style}.json: {pictures} pictures of the emoji family "{info["name"]}"\n\n'
        f"Author: {info['author']['name']}\n"
        f"Source: {info['author']['url']}\n"
        f"Taken from: npm package {package}, version {version}\n"
        f"Licence: {licence['title']} (SPDX {licence['spdx']}), {licence['url']}\n"
        f"Full text: {full_text}\n\n"
        f"Changes: a selection of the icons was rasterised to {SIDE} x {SIDE} pixels and put on one sheet.\n"
        f"{share_alike}The author does not endorse this use.\n"
    )


def _names_notice() -> str:
    package, version = NAMES_PACKAGE
    return (
        f"concepts.json: names, keywords and groups of emoji, taken from the npm package {package}, "
        f"version {version}\n(Copyright (c) 2017-2019 Miles Johnson, MIT licence), which derives them from "
        "the Unicode Common Locale Data\nRepository (Copyright (c) 1991-present Unicode, Inc., "
        "Unicode License v3, "
        "https://www.unicode.org/license.txt).\nChanges: a selection; labels with a colon were turned round "
        '("flag: Japan" became "flag of Japan").\n'
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def build(packages: Path) -> dict[str, bytes]:
    """Make every data file from npm packages.

    Args:
        packages: folder with the packages' tarballs; missing ones are downloaded into it.

    Returns:
        File name -> content, `checksums.json` (sha256 of each other file) included.

    Raises:
        UserError: when `npm` or the rasteriser is missing, or a package cannot be fetched.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError:
        raise UserError(
            f"the emoji recipe needs the rasteriser: pip install resvg-py=={RASTERISER[1]}"
        ) from None
    families = {style: _fetch(*package, packages) for style, package in PACKAGES.items()}
    concepts = _read_concepts(_fetch(*NAMES_PACKAGE, packages))
    matched = _match(families, concepts)
    styles_of = collections.Counter(code for drawn in matched.values() for code in drawn)
    kept = [code for code in concepts if styles_of[code] >= MIN_STYLES]

    files: dict[str, bytes] = {}
    drawn: dict[str, list[str]] = {}
    for style, family in families.items():
        codes = [code for code in kept if code in matched[style]]
        collection = family["icons.json"]
        pictures = [_rasterise(collection["icons"][matched[style][code]], collection) for code in codes]
        drawn[style] = [concepts[code]["slug"] for code in codes]
        files[f"{style}.png"] = _sheet(pictures)
        files[f"{style}.json"] = _json({"columns": COLUMNS, "side": SIDE, "concepts": drawn[style]})
        files[f"{style}.LICENCE.txt"] = _notice(style, family["info.json"], len(codes)).encode()
    listed = [concepts[code] for code in kept]
    files["concepts.json"] = _json(listed)
    files["concepts.LICENCE.txt"] = _names_notice().encode()
    files["splits.json"] = _json(_splits(listed, drawn))
    files["checksums.json"] = _json(
        {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    )
    return files


def compare(built: dict[str, bytes], shipped: Path) -> list[str]:
    """Names of the files of `built` that are missing from the folder `shipped` or differ from it."""
    return [
        name
        for name, content in built.items()
        if not (shipped / name).is_file() or (shipped / name).read_bytes() != content
    ]


def _version_warnings() -> list[str]:
    import importlib

    found = [
        (name, wanted, importlib.import_module(name).__version__)
        for name, wanted in (RASTERISER, PNG_ENCODER)
    ]
    return [
        f"note: built with {name} {have}, the shipped files with {wanted}"
        for name, wanted, have in found
        if have != wanted
    ]


def main(arguments: list[str] | None = None) -> int:
    """Build, compare with the shipped files, say whether the bytes are identical; 0 when they are."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, help="keep the rebuilt files in this folder")
    parser.add_argument("--packages", type=Path, help="folder of npm tarballs (downloaded when missing)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        packages = options.packages or Path(scratch)
        packages.mkdir(parents=True, exist_ok=True)
        try:
            files = build(packages)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    differing = compare(files, Path(__file__).parent / "data")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (options.output / name).write_bytes(content)
    print(f"{len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB")
    print(
        "\n".join(_version_warnings() + [f"differs: {name}" for name in differing])
        or "identical to the shipped files"
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

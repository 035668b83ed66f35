"""The embedded emoji pictures: what is there, that it is whole, and that the splits keep their promises."""

import collections
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cl_forget.ground.errors import UserError
from cl_forget.streams import emoji
from cl_forget.streams.emoji import build


@pytest.fixture(scope="module")
def data() -> emoji.EmojiSet:
    return emoji.load()


@pytest.fixture
def own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A copy of the data files that a test may damage."""
    folder = tmp_path / "data"
    shutil.copytree(emoji.DATA, folder)
    monkeypatch.setattr(emoji, "DATA", folder)
    emoji.load.cache_clear()
    yield folder
    emoji.load.cache_clear()


def test_size(data: emoji.EmojiSet) -> None:
    assert data.images.shape == (13196, 4, 32, 32)
    assert data.images.dtype == torch.uint8
    assert data.styles == [*emoji.SEEN_STYLES, *emoji.UNSEEN_STYLES]
    styles_of_concept = torch.zeros(len(data.concepts), len(data.styles)).index_put(
        (data.concept, data.style), torch.ones(())
    )
    assert (styles_of_concept.sum(1) >= 4).sum() >= 1600
    assert len({concept.slug for concept in data.concepts}) == len(data.concepts) == 1711
    assert len(set(zip(data.concept.tolist(), data.style.tolist(), strict=True))) == len(data)


def test_shipped_files_are_the_recorded_ones_and_small() -> None:
    recorded = json.loads((emoji.DATA / "checksums.json").read_text())
    shipped = {path.name for path in emoji.DATA.iterdir()}
    assert shipped == {*recorded, "checksums.json"}
    for name, checksum in recorded.items():
        assert hashlib.sha256((emoji.DATA / name).read_bytes()).hexdigest() == checksum, name
    assert sum(path.stat().st_size for path in emoji.DATA.iterdir()) <= 14e6


def test_every_family_has_its_licence_beside_it() -> None:
    licences = {}
    for style in (*emoji.SEEN_STYLES, *emoji.UNSEEN_STYLES):
        text = (emoji.DATA / f"{style}.LICENCE.txt").read_text()
        assert "Author: " in text and "Source: https://" in text and "Changes: " in text
        licences[style] = text.split("SPDX ")[1].split(")")[0]
        if licences[style] in ("MIT", "Apache-2.0"):
            assert (emoji.DATA.parent / "licences" / f"{licences[style]}.txt").is_file()
    assert licences["openmoji"] == licences["emojione-v1"] == "CC-BY-SA-4.0"
    assert licences["twemoji"] == licences["emojione"] == "CC-BY-4.0"


def test_each_picture_is_in_exactly_one_split(data: emoji.EmojiSet) -> None:
    masks = torch.stack([data.pretrain, data.held_out_pair, data.held_out_concept, data.unseen_style])
    assert (masks.sum(0) == 1).all()


def test_held_out_concepts_are_never_seen(data: emoji.EmojiSet) -> None:
    held_out = torch.tensor([concept.held_out for concept in data.concepts])
    assert not held_out[data.concept[data.pretrain | data.held_out_pair | data.unseen_style]].any()
    clocks = [concept for concept in data.concepts if concept.clock_face]
    assert len(clocks) == 24 and all(concept.held_out for concept in clocks)
    flags = [concept for concept in data.concepts if concept.country_flag]
    assert len(flags) == 91 and all(concept.held_out for concept in flags)
    assert {concept.subgroup for concept in flags} == {"country-flag"}
    tasks = {*clocks, *flags}
    others = [concept for concept in data.concepts if concept.held_out and concept not in tasks]
    assert 90 <= len(others) <= 110
    assert {concept.group for concept in others} == {concept.group for concept in data.concepts}


def test_held_out_pairs_are_seen_in_two_other_seen_styles(data: emoji.EmojiSet) -> None:
    assert (data.style[data.held_out_pair] < len(emoji.SEEN_STYLES)).all()
    assert (data.style[data.pretrain] < len(emoji.SEEN_STYLES)).all()
    seen = collections.Counter(data.concept[data.pretrain].tolist())
    assert all(seen[concept] >= 2 for concept in data.concept[data.held_out_pair].tolist())
    share = data.held_out_pair.sum() / (data.held_out_pair | data.pretrain).sum()
    assert 0.09 <= share <= 0.11


def test_the_same_concept_looks_alike_across_styles(data: emoji.EmojiSet) -> None:
    """Icons are matched to concepts by name, so a shift in an index would go unnoticed but for this."""
    colour = data.on_background().float().mean((2, 3))
    by_slug = {concept.slug: index for index, concept in enumerate(data.concepts)}
    for slug, channel in (("red-heart", 0), ("green-heart", 1), ("blue-heart", 2)):
        line_art = data.in_style("fluent-emoji-high-contrast")
        drawings = colour[(data.concept == by_slug[slug]) & ~line_art]
        assert len(drawings) >= 7
        assert (drawings.argmax(1) == channel).all(), slug


def test_background(data: emoji.EmojiSet) -> None:
    on_blue = data.on_background((10, 20, 200))
    assert on_blue.shape == (len(data), 3, 32, 32)
    for index in (3, 5000, 9000, 13000):
        picture = Image.fromarray(data.images[index].permute(1, 2, 0).numpy(), "RGBA")
        page = Image.new("RGBA", (32, 32), (10, 20, 200))
        page.alpha_composite(picture)
        expected = np.asarray(page)[..., :3].astype(int)
        assert abs(on_blue[index].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_unknown_style_names_the_known_ones(data: emoji.EmojiSet) -> None:
    with pytest.raises(UserError, match="choose one of noto, noto-v1"):
        data.in_style("noto-v3")


def test_a_damaged_file_is_one_clear_line(own_copy: Path) -> None:
    sheet = bytearray((own_copy / "twemoji.png").read_bytes())
    sheet[5000] ^= 1
    (own_copy / "twemoji.png").write_bytes(sheet)
    with pytest.raises(UserError, match=r"twemoji\.png is damaged") as error:
        emoji.load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["noto.json", "checksums.json"])
def test_a_missing_file_is_one_clear_line(own_copy: Path, name: str) -> None:
    (own_copy / name).unlink()
    with pytest.raises(UserError, match="cannot be read") as error:
        emoji.load()
    assert name in str(error.value) and "\n" not in str(error.value)


def test_recipe_makes_the_shipped_splits(data: emoji.EmojiSet) -> None:
    """The choices of the recipe, repeated from the shipped names alone."""
    concepts = json.loads((emoji.DATA / "concepts.json").read_text())
    drawn = {
        style: json.loads((emoji.DATA / f"{style}.json").read_text())["concepts"] for style in build.PACKAGES
    }
    assert build._json(build._splits(concepts, drawn)) == (emoji.DATA / "splits.json").read_bytes()


def test_recipe_tells_identical_files_from_others(own_copy: Path) -> None:
    files = {path.name: path.read_bytes() for path in own_copy.iterdir()}
    assert build.compare(files, own_copy) == []
    assert build.compare(files | {"noto.json": b"{}", "new.json": b""}, own_copy) == ["noto.json", "new.json"]


def test_rasteriser_averages_premultiplied_colour() -> None:
    """Half of each pixel is red, half transparent: the pixel is fully red at half alpha, not dark red."""
    pytest.importorskip("resvg_py")
    stripes = "".join(f'<rect x="{x}" y="0" width="0.5" height="32" fill="#f00"/>' for x in range(32))
    picture = build._rasterise({"body": stripes, "width": 32, "height": 32}, {})
    assert (picture == np.array([255, 0, 0, 128], dtype=np.uint8)).all()

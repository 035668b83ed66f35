"""Every kind of image file is read as a person sees it, or refused in one line."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from cl_forget.ground.errors import UserError
from cl_forget.streams.images import (
    CMYK,
    DEEP,
    DEEP_COLOUR,
    DIM_COLOUR,
    FRAMES,
    ROTATED,
    TRANSPARENT,
    Picture,
    Survey,
    read_image,
    sampled,
)

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def read(content: bytes, value_range: tuple[float, float] | None = None) -> Picture:
    picture = read_image(content, "image 'x'", value_range)
    assert picture.image.mode == "RGB"
    return picture


def grey(picture: Picture) -> np.ndarray:
    """(height, width) in [0, 1]; the three channels agree."""
    pixels = np.asarray(picture.image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0] / 255


def message(content: bytes, value_range: tuple[float, float] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read(content, value_range)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut(kind: str) -> None:
    picture = read(encoded(Image.fromarray((RAMP * 65535).astype(np.uint16)), kind))
    assert picture.done == {DEEP}
    np.testing.assert_allclose(grey(picture), RAMP, atol=0.003)


def test_big_endian_and_32_bit_integers_are_scaled_too() -> None:
    values = (RAMP * 65535).astype(">u2")
    header = b"P5 8 8 65535\n"
    np.testing.assert_allclose(grey(read(header + values.tobytes())), RAMP, atol=0.003)
    wide = Image.fromarray((RAMP * 65535).astype(np.int32))
    np.testing.assert_allclose(grey(read(encoded(wide, "TIFF"))), RAMP, atol=0.003)


def test_fractions_are_read_from_0_to_1_and_other_values_need_a_range() -> None:
    fractions = encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF")
    np.testing.assert_allclose(grey(read(fractions)), RAMP, atol=0.003)
    bytes_ = encoded(Image.fromarray((RAMP * 255).astype(np.float32)), "TIFF")
    assert "holds values from 0 to 255: set the option `value_range: [black, white]`" in message(bytes_)
    np.testing.assert_allclose(grey(read(bytes_, (0, 255))), RAMP, atol=0.003)
    scan = encoded(Image.fromarray((RAMP * 2000 - 1000).astype(np.int32)), "TIFF")
    assert "from -1000 to 1000" in message(scan)
    np.testing.assert_allclose(grey(read(scan, (-1000, 1000))), RAMP, atol=0.003)
    np.testing.assert_allclose(grey(read(scan, (1000, -1000))), 1 - RAMP, atol=0.003)
    holes = RAMP.astype(np.float32)
    holes[0, 0] = np.nan
    assert "not finite" in message(encoded(Image.fromarray(holes), "TIFF"))


def test_twelve_bits_in_sixteen_are_refused_for_the_set_and_read_with_a_range() -> None:
    dark = encoded(Image.fromarray((RAMP * 4095).astype(np.uint16)))
    full = encoded(Image.fromarray((RAMP * 65535).astype(np.uint16)))
    with pytest.raises(UserError, match=r"nearly black; set the option `value_range"):
        said({"train": [dark], "test": [dark]})
    assert len(said({"train": [dark], "test": [full]})) == 1, "one image may be dark"
    np.testing.assert_allclose(grey(read(dark, (0, 4095))), RAMP, atol=0.003)


def drawing(mode: str, ink: int) -> Image.Image:
    """Ink on the left half, nothing on the right."""
    array = np.zeros((8, 8, 4), np.uint8)
    array[:, :4] = (ink, ink, ink, 255)
    return Image.fromarray(array).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("ink", [0, 255])
def test_what_is_drawn_on_transparency_stays_visible(mode: str, ink: int) -> None:
    picture = read(encoded(drawing(mode, ink)))
    assert picture.done == {TRANSPARENT}
    pixels = grey(picture)
    assert (pixels[:, :4] == ink / 255).all()
    assert (pixels[:, 4:] == 1 - ink / 255).all()


def test_transparent_colours_of_palettes_and_rgb_count_as_transparency() -> None:
    palette = Image.fromarray(np.repeat([[0, 1]], 8, axis=0).repeat(4, axis=1).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 10, 10, 10])
    for options in ({"transparency": 1}, {"transparency": bytes([255, 0])}):
        for kind in ("PNG", "GIF") if isinstance(options["transparency"], int) else ("PNG",):
            pixels = grey(read(encoded(palette, kind, **options)))
            assert (pixels[:, :4] == 0).all(), kind
            assert (pixels[:, 4:] == 1).all(), kind
    keyed = Image.new("RGB", (8, 8), (0, 0, 0))
    assert (grey(read(encoded(keyed, transparency=(0, 0, 0)))) == 1).all()
    opaque = drawing("RGBA", 0)
    opaque.putalpha(255)
    assert read(encoded(opaque)).done == set()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_rotation_is_applied(orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a mark in the upper left corner
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera that is held so stores
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(encoded(image, "JPEG", exif=exif, quality=95))
    assert picture.done == ({ROTATED} if orientation > 1 else set())
    assert picture.image.size == (24, 16)
    pixels = np.asarray(picture.image)[..., 0]
    assert pixels[:6, :6].mean() > 240
    assert pixels[10:, :].mean() < 15
    assert pixels[:, 10:].mean() < 15


def test_whatever_the_reader_of_a_format_raises_is_one_line() -> None:
    frames = [Image.new("P", (9, 9), colour) for colour in (0, 1)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    whole, refused = buffer.getvalue(), 0
    for end in range(10, len(whole)):
        try:
            read_image(whole[:end] + b",", "x.gif")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_leave_the_image_readable() -> None:
    content = encoded(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read(content).image.size == (8, 8)


def test_cmyk_palettes_and_bilevel_images_keep_their_colours() -> None:
    red = read(encoded(Image.new("RGB", (8, 8), "red").convert("CMYK"), "TIFF"))
    assert red.done == {CMYK}
    assert np.asarray(red.image).mean((0, 1)).tolist() == [255, 0, 0]
    palette = Image.new("RGB", (8, 8), "red").convert("P")
    assert np.asarray(read(encoded(palette)).image).mean((0, 1)).tolist() == [255, 0, 0]
    assert (grey(read(encoded(Image.new("1", (8, 8), 1)))) == 1).all()


def test_lab_images_keep_their_colours() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.new("RGB", (8, 8), (200, 30, 60)), srgb, lab, outputMode="LAB")
    assert image is not None
    seen = np.asarray(read(encoded(image, "TIFF")).image, dtype=int)
    assert np.abs(seen - (200, 30, 60)).max() < 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")
    picture = read(encoded(first, kind, save_all=True, append_images=[second]))
    assert FRAMES in picture.done
    assert (grey(picture) > 0.98).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        whole = encoded(noise, kind)
        assert "'x' cannot be read" in message(whole[: len(whole) // 2]), kind
    assert "'x' cannot be read" in message(b"")
    assert "'x' cannot be read" in message(b"<html>not found</html>")
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)  # a decompression bomb
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    assert "'x' cannot be read" in message(bomb)
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path / "missing.png", "image 'x'")


def said(splits: dict[str, list[bytes]], total: int = 0) -> list[str]:
    survey = Survey("folder 'x'")
    for split, contents in splits.items():
        survey.look(split, map(read, contents), total or len(contents))
    return survey.notes()


def test_what_is_said_of_a_set_names_numbers_and_whether_all_were_looked_at() -> None:
    clear, opaque = encoded(drawing("RGBA", 0)), encoded(Image.new("L", (4, 4)))
    assert said({"train": [clear, opaque, clear], "validation": [opaque], "test": [clear]}) == [
        "2 of 3 images in train, 1 of 1 images in test have transparency: they are put on white, or on black where "
        "the picture is nearly white itself"
    ]
    assert said({"train": [clear]}, 1000)[0].startswith("1 of 1 images looked at in train have transparency")
    assert sampled(3) == [0, 1, 2]
    assert len(set(sampled(1_000_000))) == 64


def sixteen_bits(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow reads and does not write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6), (2, 4)])
def test_colour_images_of_sixteen_bits_that_would_be_black(channels: int, colour_type: int) -> None:
    values = np.repeat((RAMP * 65535).astype(np.uint16)[..., None], channels, axis=2)
    if channels != 3:
        values[..., -1] = 65535
    picture = read(sixteen_bits(values, colour_type))
    assert picture.done == {DEEP_COLOUR}
    np.testing.assert_allclose(grey(picture), RAMP, atol=0.005)
    values[..., : 3 if channels > 2 else 1] //= 16
    dim = read(sixteen_bits(values, colour_type))
    assert dim.done == {DEEP_COLOUR, DIM_COLOUR}
    survey = Survey("set")
    survey.look("train", [dim, dim], 2)
    with pytest.raises(UserError, match="colour images of 16 bits hold no value above 4,095"):
        survey.notes()
    survey.look("test", [picture], 1)
    assert any("have 16 bits per channel" in note for note in survey.notes())


def test_what_is_no_image_is_said_without_addresses_in_memory() -> None:
    for content in (b"", b"<html>404</html>"):
        assert "'x' cannot be read (it is no image of a format that is known here): replace" in message(
            content
        )

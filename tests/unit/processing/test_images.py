"""Images of every kind of source."""

import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gemkr_hf.processing import load_image
from gemkr_hf.processing.images_gemkr import fit_for_resizing


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_source_gives_the_same_pixels(image, tmp_path):
    path = tmp_path / "image.png"
    image.save(path)
    data = path.read_bytes()
    array = np.asarray(image)
    sources = [
        image,
        path,
        str(path),
        data,
        bytearray(data),
        io.BytesIO(data),
        "data:image/png;base64," + base64.b64encode(data).decode(),
        {"bytes": data, "path": None},
        {"bytes": None, "path": str(path)},
        array,
        array / 255,
        np.moveaxis(array, -1, 0),
        array.astype(np.uint16) * 257,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
    ]
    for source in sources:
        loaded = load_image(source)
        assert loaded.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(loaded), array)


def test_exif_orientation_is_applied(image):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    loaded = load_image(encoded(image, "PNG", exif=exif))
    assert loaded.size == (image.height, image.width)
    expected = image.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(expected))


def test_transparency_becomes_white():
    for mode, color in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        assert load_image(Image.new(mode, (9, 9), color)).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert load_image(palette).getpixel((0, 0)) == (10, 20, 30)
    loaded = load_image(encoded(palette, "PNG", transparency=0))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(mode):
    assert load_image(Image.new(mode, (9, 7))).mode == "RGB"


def test_sixteen_bits_keep_their_greys():
    levels = np.array([[0, 32768, 65535]], dtype=np.uint16)
    loaded = load_image(encoded(Image.fromarray(levels)))
    assert [loaded.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_cmyk_jpeg_and_first_frame_of_an_animation():
    cmyk = load_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = cmyk.getpixel((8, 8))
    assert red > 200
    assert max(green, blue) < 60
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data).getpixel((0, 0)) == (255, 0, 0)


def test_one_pixel_and_strips_are_fine():
    assert load_image(Image.new("RGB", (1, 1))).size == (1, 1)
    assert min(fit_for_resizing(Image.new("RGB", (1, 1))).size) >= 8
    strip = fit_for_resizing(Image.new("RGB", (10000, 1)))
    assert strip.width <= 64 * strip.height


def test_huge_images_are_reduced_without_a_visible_difference(image):
    from transformers import CLIPImageProcessor

    encode = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    huge = image.resize((5100, 3400), Image.Resampling.BICUBIC)
    reduced = fit_for_resizing(huge)
    assert reduced.size == (2550, 1700)
    pixels = [encode(image, return_tensors="pt")["pixel_values"] for image in (huge, reduced)]
    assert (pixels[0] - pixels[1]).abs().mean() < 0.01  # a grey level is 0.015


def test_mistakes_raise_clear_errors(image, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"Image not found: .*nowhere\.jpg"):
        load_image(tmp_path / "nowhere.jpg")
    text = tmp_path / "notes.jpg"
    text.write_text("this is not an image")
    with pytest.raises(ValueError, match=r"notes\.jpg is not an image"):
        load_image(text)
    for kind in ("PNG", "JPEG"):
        half = tmp_path / f"half.{kind.lower()}"
        data = encoded(image, kind)
        half.write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match="truncated or damaged"):
            load_image(half)
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        load_image(b"")
    with pytest.raises(ValueError, match="no pixels"):
        load_image(Image.new("RGB", (0, 5)))
    with pytest.raises(ValueError, match="no pixels"):
        load_image(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"not \(2, 5, 7\)"):
        load_image(np.zeros((2, 5, 7)))
    with pytest.raises(ValueError, match="not int"):
        load_image(7)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="decompression bomb"):
        load_image(encoded(image))  # 2400 pixels


def test_large_image_below_the_bomb_limit(image, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert load_image(encoded(image)).size == image.size
    assert not recwarn.list


def test_a_damaged_file_of_any_kind_never_raises_anything_else(image, tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        data = bytearray(encoded(image, kind))
        for _ in range(25):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 6):
                broken[place] = rng.integers(256)
            try:
                assert load_image(bytes(broken)).mode == "RGB"
            except ValueError as error:
                assert "\n" not in str(error)


def test_urls(image):
    data = encoded(image)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            good = self.path == "/good.png"
            self.send_response(200 if good else 404)
            self.end_headers()
            self.wfile.write(data if good else b"")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert load_image(f"{address}/good.png").size == image.size
        with pytest.raises(ValueError, match=r"bad\.png could not be fetched.*404"):
            load_image(f"{address}/bad.png")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:9/a b.png"])
def test_invalid_urls(url):
    with pytest.raises(ValueError, match="could not be fetched"):
        load_image(url)


def test_home_folder_is_not_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_image(Path("relative.png"))

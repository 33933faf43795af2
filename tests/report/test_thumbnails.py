"""Images of the page: size, colours, and that they are written once."""

import io
import os

import numpy as np
import PIL.Image
import pytest

from tpuseg.report import thumbnails


def encode(pixels, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def read(folder, url):
    return PIL.Image.open(os.path.join(folder, url))


def test_an_image_is_made_smaller_and_never_larger(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = (200, 100, 50)
    small = read(tmp_path, thumbnails.write_thumbnail(encode(pixels), str(tmp_path), "a.png", max_side=8))
    assert (small.format, small.size) == ("JPEG", (8, 4))
    same = read(tmp_path, thumbnails.write_thumbnail(encode(pixels), str(tmp_path), "a.png"))
    assert same.size == (40, 20)
    assert np.abs(np.asarray(same)[10, [5, 35]].astype(int) - [[0, 0, 0], [200, 100, 50]]).max() < 8


def test_pixels_of_more_channels(tmp_path):
    pixels = np.full((4, 6, 5), 90, np.uint8)
    image = read(tmp_path, thumbnails.write_thumbnail(pixels, str(tmp_path), "a"))
    assert image.size == (6, 4) and image.mode == "RGB"


def test_the_orientation_in_the_exif_data_is_not_applied(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encode(np.zeros((4, 8, 3), np.uint8), exif=exif)
    assert read(tmp_path, thumbnails.write_thumbnail(content, str(tmp_path), "a")).size == (8, 4)


def test_an_image_is_written_once(tmp_path):
    contents = [encode(np.full((4, 4, 3), value, np.uint8)) for value in (0, 100, 0)]
    urls = list(thumbnails.write_thumbnails([("x", content) for content in contents], str(tmp_path), 2))
    assert urls[0] == urls[2] != urls[1]
    files = {name: os.stat(tmp_path / "images" / name).st_mtime_ns for name in os.listdir(tmp_path / "images")}
    assert {f"images/{name}" for name in files} == set(urls)
    assert list(thumbnails.write_thumbnails([("x", content) for content in contents], str(tmp_path), 2)) == urls
    assert {name: os.stat(tmp_path / "images" / name).st_mtime_ns for name in files} == files
    assert thumbnails.write_thumbnail(contents[0], str(tmp_path), "x", max_side=2) not in urls


def test_a_damaged_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^b\.jpg cannot be read"):
        images = [("a.png", encode(np.zeros((2, 2, 3), np.uint8))), ("b.jpg", b"nothing")]
        list(thumbnails.write_thumbnails(images, str(tmp_path), 2))


def test_class_maps(tmp_path):
    labels = np.array([[0, 1, 1], [2, 255, 2]], np.uint8)
    image = read(tmp_path, thumbnails.write_class_map(labels, str(tmp_path)))
    assert image.mode == "P"  # A quarter of the size of a file with four channels.
    pixels = np.asarray(image.convert("RGBA"))
    assert (pixels[..., 3] > 0).tolist() == [[False, True, True], [True, False, True]]
    assert pixels[0, 1, :3].tolist() == [128, 0, 0] and pixels[1, 0, :3].tolist() == [0, 128, 0]
    other = read(tmp_path, thumbnails.write_class_map(labels, str(tmp_path), transparent=(255,)))
    assert np.asarray(other.convert("RGBA"))[0, 0, 3] > 0


def test_error_maps_are_made_smaller_without_mixing_pixels(tmp_path):
    is_wrong = np.zeros((4, 8), bool)
    is_wrong[:, 4:] = True
    image = read(tmp_path, thumbnails.write_error_map(is_wrong, str(tmp_path), max_side=4))
    pixels = np.asarray(image.convert("RGBA"))
    assert pixels.shape == (2, 4, 4) and np.unique(pixels[..., 3]).size == 2
    assert (pixels[..., 3] > 0).tolist() == [[False, False, True, True]] * 2

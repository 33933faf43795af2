"""Sizes of images from the beginnings of their files."""

import numpy as np
import PIL.Image
import pytest
import tifffile

from tpuseg.io import image_sizes


def test_the_size_is_that_of_the_upright_image(tmp_path):
    for orientation, expected in ((1, (5, 8)), (3, (5, 8)), (6, (8, 5))):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.new("RGB", (8, 5)).save(tmp_path / "a.jpg", exif=exif)
        assert image_sizes.upright_size(str(tmp_path / "a.jpg")) == expected


@pytest.mark.parametrize(("orientation", "expected"), [(1, (5, 8)), (6, (8, 5))])
def test_tiffs_of_any_number_of_bands(tmp_path, orientation, expected):
    values = np.zeros((5, 8, 6), np.uint16)
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig", extratags=[tag])
    assert image_sizes.upright_size(str(tmp_path / "a.tif")) == expected


@pytest.mark.parametrize("content", [None, b"", b"no image at all", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", b"II*\0\x08\0\0\0"])
def test_files_that_are_no_images_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="a.png cannot be read as an image"):
        image_sizes.upright_size(str(tmp_path / "a.png"))

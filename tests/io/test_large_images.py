"""Windows of large images: the pixels of the reader of whole images, for every form of TIFF, and one line for what is not read."""

import concurrent.futures
import os
import subprocess
import sys

import channel_images
import numpy as np
import odd_images
import PIL.Image
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tpuseg.io import gdal, image_channels, image_files, large_images, tiff_layout

rasterio = pytest.importorskip("rasterio")

# Odd sizes, larger than the tiles.
HEIGHT, WIDTH = 83, 117
WINDOWS = ((0, 0, HEIGHT, WIDTH), (0, 0, 1, 1), (15, 31, 50, 97), (HEIGHT - 1, WIDTH - 1, HEIGHT, WIDTH), (16, 0, 32, WIDTH))


def values(num_channels, dtype=np.uint8, seed=0):
    """Returns [H, W, N] values with a gradient and grain, [H, W] for one channel."""
    random = np.random.default_rng(seed)
    made = random.integers(0, 256, (HEIGHT, WIDTH, num_channels))
    if dtype == np.uint16:
        made = random.integers(0, 65536, made.shape)
    elif np.dtype(dtype).kind != "u":
        made = random.normal(0, 300, made.shape)
    return np.squeeze(made.astype(dtype), -1) if num_channels == 1 else made.astype(dtype)


def write(path, pixels, **options):
    """Writes a TIFF with tifffile; three and four channels are RGB unless something else is asked for."""
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) else "minisblack")
    if pixels.ndim == 3 and options.setdefault("planarconfig", "contig") == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    elif pixels.ndim == 2:
        options.pop("planarconfig", None)
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return str(path)


def write_gdal(path, pixels, **profile):
    """Writes a TIFF with GDAL, which has more compressions."""
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    height, width, count = pixels.shape
    profile = {"height": height, "width": width, "count": count, "dtype": pixels.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        dataset.write(np.moveaxis(pixels, -1, 0))
    return str(path)


def require_equal_windows(path, num_channels, tolerance=0, **options):
    """Windows of a file are those of the whole image, as the existing reader decodes it."""
    whole = image_channels.decode(path, num_channels, **options).pixels
    with large_images.open_image(path, num_channels, **options) as source:
        assert source.is_windowed and source.size == whole.shape[:2] and source.num_channels == num_channels
        for top, left, bottom, right in WINDOWS:
            found = source.read(top, left, bottom, right)
            assert found.dtype == np.uint8
            expected = whole[top:bottom, left:right]
            assert found.shape == expected.shape
            assert np.abs(found.astype(int) - expected).max() <= tolerance
    return whole


FORMS = {
    "strips": {},
    "strips_deflate": {"compression": "deflate", "rowsperstrip": 7},
    "tiles": {"tile": (32, 48)},
    "tiles_deflate": {"tile": (32, 48), "compression": "deflate"},
    "predictor": {"tile": (16, 16), "compression": "deflate", "predictor": True},
    "big": {"bigtiff": True},
    "big_endian": {"byteorder": ">", "tile": (32, 32)},
    "separate": {"planarconfig": "separate", "tile": (32, 32)},
    "separate_deflate": {"planarconfig": "separate", "compression": "deflate"},
}
# (channels of the file, channels of the model)
COUNTS = ((1, 1), (1, 3), (3, 3), (4, 3), (4, 4), (5, 5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("stored", "num_channels"), COUNTS)
def test_windows_have_the_pixels_of_the_whole_image(tmp_path, stored, num_channels, form):
    path = write(tmp_path / "a.tif", values(stored), **FORMS[form])
    whole = require_equal_windows(path, num_channels)
    expected = values(stored).reshape(HEIGHT, WIDTH, stored)
    np.testing.assert_array_equal(
        whole, np.repeat(expected, 3, 2) if (stored, num_channels) == (1, 3) else expected[..., :num_channels]
    )


@pytest.mark.parametrize("compress", ["lzw", "packbits", "zstd"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_windows_of_other_compressions(tmp_path, compress, interleave):
    path = write_gdal(tmp_path / "a.tif", values(3), compress=compress, interleave=interleave, photometric="rgb", tiled=True)
    with large_images.open_image(path, 3) as source:
        np.testing.assert_array_equal(source.read(20, 30, 60, 90), values(3)[20:60, 30:90])
    if compress != "zstd":  # Pillow may be built without it.
        require_equal_windows(path, 3)


@pytest.mark.parametrize(("photometric", "tolerance"), [("rgb", 2), ("ycbcr", 4)])
def test_windows_of_jpeg_are_those_of_pillow_within_rounding(tmp_path, photometric, tolerance):
    # The colours are stored with half of the size, and the libraries interpolate them differently.
    x, y = np.meshgrid(np.arange(WIDTH) * 2, np.arange(HEIGHT) * 3)
    pixels = np.stack([x, y, x], -1).astype(np.uint8)
    path = write_gdal(
        tmp_path / "a.tif", pixels, compress="jpeg", photometric=photometric, tiled=True, blockxsize=32, blockysize=32
    )
    require_equal_windows(path, 3, tolerance)


# (channels of the file, channels of the model, type, range)
WIDE = (
    (1, 1, np.uint16, ()),
    (1, 3, np.uint16, (100, 40000)),
    (3, 3, np.uint16, ()),
    (3, 3, np.uint16, (0, 4095)),
    (4, 3, np.uint16, (7, 65000)),
    (5, 5, np.uint16, ()),
    (5, 5, np.int16, ()),
    (1, 3, np.int16, (-200, 200)),
    (5, 5, np.int16, (-200, 200)),
    (1, 1, np.int32, (-200, 200)),
    (1, 3, np.float32, (-400.5, 300.25)),
    (4, 4, np.float32, (0, 100)),
    (5, 5, np.float64, (-400.1, 300.3)),
)


@pytest.mark.parametrize("form", ["strips", "tiles_deflate", "separate", "big_endian"])
@pytest.mark.parametrize(("stored", "num_channels", "dtype", "pixel_range"), WIDE)
def test_wide_values_are_narrowed_as_in_whole_images(tmp_path, stored, num_channels, dtype, pixel_range, form):
    path = write(tmp_path / "a.tif", values(stored, dtype), **FORMS[form])
    if (form, num_channels, stored > 1) == ("separate", 3, True):
        pytest.skip("the whole image is not decoded")
    require_equal_windows(path, num_channels, pixel_range=pixel_range)


def test_planes_of_16_bit_colours_are_read_by_windows_only(tmp_path):
    path = write(tmp_path / "a.tif", values(3, np.uint16), planarconfig="separate")
    with large_images.open_image(path, 3) as source:
        np.testing.assert_array_equal(source.read(5, 6, 30, 40), (values(3, np.uint16) >> 8)[5:30, 6:40])


@pytest.mark.parametrize(("dtype", "pixel_range"), [(np.float64, (0, 256)), (np.uint32, (0, 256)), (np.uint16, (0, 256))])
@pytest.mark.parametrize("byteorder", "<>")
def test_types_that_pillow_does_not_read(tmp_path, dtype, pixel_range, byteorder):
    path = write(
        tmp_path / "a.tif", values(3).astype(dtype), byteorder=byteorder, planarconfig="separate", photometric="minisblack"
    )
    with large_images.open_image(path, 3, pixel_range) as source:
        np.testing.assert_array_equal(source.read(5, 6, 30, 40), values(3)[5:30, 6:40])


def test_floats_that_are_no_numbers_are_black(tmp_path):
    pixels = values(1, np.float32)
    pixels[20:30, 40:50] = np.nan
    pixels[30:40, 40:50] = np.inf
    path = write(tmp_path / "a.tif", pixels)
    require_equal_windows(path, 1, pixel_range=(-100, 100))
    with large_images.open_image(path, 1, pixel_range=(-100, 100)) as source:
        assert not source.read(20, 40, 30, 50).any() and (source.read(30, 40, 40, 50) == 255).all()


@given(
    seed=st.integers(0, 99),
    stored=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    tile=st.sampled_from([None, (16, 32), (64, 16)]),
    compression=st.sampled_from([None, "deflate"]),
    planar=st.sampled_from(["contig", "separate"]),
    corners=st.tuples(*([st.integers(0, HEIGHT), st.integers(0, WIDTH)] * 2)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_of_any_form(tmp_path, seed, stored, dtype, tile, compression, planar, corners):
    path = write(
        tmp_path / "a.tif",
        values(stored, dtype, seed),
        planarconfig=planar,
        compression=compression,
        **({"tile": tile} if tile else {}),
    )
    (top, bottom), (left, right) = sorted(corners[::2]), sorted(corners[1::2])
    pixels = values(stored, dtype, seed).reshape(HEIGHT, WIDTH, stored)[..., :3] >> (np.dtype(dtype).itemsize - 1) * 8
    whole = np.broadcast_to(pixels, (HEIGHT, WIDTH, 3))
    with large_images.open_image(path, 3) as source:
        if top < bottom and left < right:
            np.testing.assert_array_equal(source.read(top, left, bottom, right), whole[top:bottom, left:right])
        else:
            with pytest.raises(ValueError, match="to be read"):
                source.read(top, left, bottom, right)


@given(place=st.integers(0, 4000), value=st.integers(0, 255), end=st.integers(0, 6000))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_named(tmp_path, place, value, end):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values(3)[:40, :50], photometric="rgb", compression="deflate", tile=(16, 16), metadata=None)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data[: max(4, end)])
    try:
        with large_images.open_image(str(path), 3) as source:
            height, width = source.size
            if height * width < 1 << 20:
                assert source.read(0, 0, height, width).shape == (height, width, 3)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.parametrize("kind", ["tiles_deflate", "strips", "big"])
def test_a_truncated_file_says_so(tmp_path, kind):
    path = tmp_path / "a.tif"
    write(path, values(3), **FORMS[kind])
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(
        ValueError, match=rf"^{path} is truncated: it has {len(data) - 100:,d} bytes of at least {len(data):,d}; copy"
    ):
        large_images.open_image(str(path), 3)
    path.write_bytes(data[:6])
    with pytest.raises(ValueError, match=rf"^{path} is truncated"):
        large_images.open_image(str(path), 3)


@pytest.mark.parametrize(
    "header",
    [
        b"II*\0" + (5000).to_bytes(4, "little"),
        b"MM\0*" + (5000).to_bytes(4, "big"),
        b"II+\0\x08\0\0\0" + (5000).to_bytes(8, "little"),
        b"MM\0+\0\x08\0\0" + (5000).to_bytes(8, "big"),
    ],
)
def test_a_file_that_ends_before_its_directory_is_truncated(tmp_path, header):
    path = tmp_path / "a.tif"
    path.write_bytes(header.ljust(1000, b"\0"))
    with pytest.raises(ValueError, match=rf"^{path} is truncated: it has 1,000 bytes of at least 5,000; copy"):
        large_images.open_image(str(path), 3)


def test_damaged_pixels_are_one_line_when_they_are_read(tmp_path, capfd, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "a.tif"
    write(path, values(3), compression="deflate", tile=(32, 32))
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)
    with large_images.open_image(str(path), 3) as source:
        np.testing.assert_array_equal(source.read(0, 0, 32, 32), values(3)[:32, :32])
        with pytest.raises(ValueError, match=rf"^{path} cannot be read: .*; it is damaged or truncated") as error:
            source.read(0, 0, HEIGHT, WIDTH)
    assert "\n" not in str(error.value) and capfd.readouterr() == ("", "") and not caplog.records


def test_grey_images_of_three_channels_are_one_channel_where_these_are_equal(tmp_path):
    grey = np.repeat(values(1)[..., np.newaxis], 3, 2)
    grey[60:, :, 1] ^= 1
    path = write(tmp_path / "a.tif", grey)
    with large_images.open_image(path, 1) as source:
        np.testing.assert_array_equal(source.read(0, 0, 60, WIDTH), grey[:60, :, :1])
        with pytest.raises(image_channels.WrongChannelsError, match="has 3 channels, but the required number is 1"):
            source.read(59, 0, 61, 1)


GEO = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.1, 0, 500000, 0, -0.1, 5800000)}


def test_georeference(tmp_path):
    found = large_images.open_image(write_gdal(tmp_path / "a.tif", values(3), **GEO), 3).georeference
    assert found == large_images.Georeference((0.1, 0, 500000, 0, -0.1, 5800000), "EPSG:32633")
    assert large_images.open_image(write(tmp_path / "b.tif", values(3)), 3).georeference is None
    (tmp_path / "b.tfw").write_text("0.5\n0\n0\n-0.5\n100.25\n199.75\n")  # The centre of the first pixel.
    found = large_images.open_image(str(tmp_path / "b.tif"), 3).georeference
    assert found == large_images.Georeference((0.5, 0, 100, 0, -0.5, 200), "")
    local = rasterio.crs.CRS.from_proj4("+proj=tmerc +lat_0=3 +lon_0=7 +k=1 +x_0=9 +y_0=0 +ellps=GRS80 +units=m")
    found = large_images.open_image(write_gdal(tmp_path / "c.tif", values(3), **{**GEO, "crs": local}), 3).georeference
    assert rasterio.crs.CRS.from_wkt(found.crs) == local


def test_images_that_are_read_whole_have_a_georeference_unless_they_are_turned(tmp_path, monkeypatch):
    path = write_gdal(tmp_path / "a.tif", values(1), photometric="miniswhite", **GEO)
    with large_images.open_image(path, 3) as source:
        assert not source.is_windowed and source.georeference.crs == "EPSG:32633"
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages[0].tags["PlanarConfiguration"]  # 1, the same as without the tag.
        place = tag.offset
    with open(path, "r+b") as file:
        file.seek(place)
        file.write((274).to_bytes(2, "little"))  # The orientation.
        file.seek(place + 8)
        file.write((6).to_bytes(2, "little"))
    with large_images.open_image(path, 3) as source:
        assert source.size == (WIDTH, HEIGHT) and source.georeference is None


@pytest.mark.parametrize("options", [{"tile": (96, 128)}, {"rowsperstrip": HEIGHT}])
def test_files_with_huge_tiles_or_strips_are_read_whole(tmp_path, monkeypatch, options):
    path = write(
        tmp_path / "a.tif",
        np.zeros((HEIGHT, WIDTH, 3), np.uint8) if "tile" in options else values(3),
        **options,
        compression="deflate",
    )
    with tifffile.TiffFile(path) as file:
        compressed = max(file.pages[0].databytecounts)
    largest = max(compressed, 96 * 128 * 3 if "tile" in options else HEIGHT * WIDTH * 3)
    monkeypatch.setattr(large_images, "_MAX_BLOCK_BYTES", largest)
    assert large_images.open_image(path, 3).is_windowed
    monkeypatch.setattr(large_images, "_MAX_BLOCK_BYTES", largest - 1)
    assert not large_images.open_image(path, 3).is_windowed


def test_threads_can_share_a_source(tmp_path):
    path = write(tmp_path / "a.tif", values(3), tile=(16, 16), compression="deflate")
    with large_images.open_image(path, 3) as source, concurrent.futures.ThreadPoolExecutor(4) as pool:
        for row, found in enumerate(pool.map(lambda top: source.read(top, 0, top + 1, WIDTH), range(HEIGHT))):
            np.testing.assert_array_equal(found[0], values(3)[row])


def test_bands_of_georeferenced_files(tmp_path):
    pixels = values(6, np.uint16)
    path = write_gdal(tmp_path / "a.tif", pixels, photometric="minisblack", **GEO)
    for num_channels, bands, expected in ((3, (), (0, 1, 2)), (3, (4, 3, 2), (3, 2, 1)), (2, (6, 6), (5, 5)), (6, (), range(6))):
        with large_images.open_image(path, num_channels, bands=bands) as source:
            np.testing.assert_array_equal(source.read(10, 20, 40, 70), (pixels >> 8)[10:40, 20:70, list(expected)])
    with pytest.raises(ValueError, match=rf"^{path} has no band 7, but 6 bands, numbered from 1$"):
        large_images.open_image(path, 3, bands=(1, 2, 7))
    with pytest.raises(ValueError, match=r"^2 bands \(1, 2\) are given, but the required number of channels is 3"):
        large_images.open_image(path, 3, bands=(1, 2))
    with pytest.raises(image_channels.WrongChannelsError, match="has 6 channels, but the required number is 4"):
        large_images.open_image(path, 4)


def test_bands_without_a_georeference_must_be_chosen(tmp_path):
    path = write(tmp_path / "a.tif", values(5))
    with pytest.raises(image_channels.WrongChannelsError, match="has 5 channels, but the required number is 3"):
        large_images.open_image(path, 3)
    with large_images.open_image(path, 3, bands=(5, 1, 2)) as source:
        np.testing.assert_array_equal(source.read(0, 0, 9, 9), values(5)[:9, :9, [4, 0, 1]])


def test_bands_of_images_in_memory():
    pixels = values(5)
    with large_images.open_image(pixels, 2, bands=(5, 1)) as source:
        np.testing.assert_array_equal(source.read(3, 4, 9, 9), pixels[3:9, 4:9, [4, 0]])
    with large_images.open_image(odd_images.encode(values(3)), 3, bands=(1, 2, 3)) as source:
        np.testing.assert_array_equal(source.read(0, 0, HEIGHT, WIDTH), values(3))
    with pytest.raises(ValueError, match=r"^the image: bands \(3, 2, 1\) can only be chosen in .*: only TIFF files are$"):
        large_images.open_image(odd_images.encode(values(3)), 3, bands=(3, 2, 1))
    with pytest.raises(ValueError, match="the image has no band 0"):
        large_images.open_image(pixels, 2, bands=(0, 1))


def test_floats_need_a_range_when_the_file_is_opened(tmp_path):
    pixels = values(1, np.float32)
    path = write(tmp_path / "a.tif", pixels)
    said = rf"^{path} has float values from {pixels.min():g} to {pixels.max():g}, .* --pixel_range=LOW,HIGH"
    with pytest.raises(ValueError, match=said):
        image_channels.decode(path, 3)
    with pytest.raises(ValueError, match=said):
        large_images.open_image(path, 3)
    with pytest.raises(ValueError, match="32-bit integer values from"):
        large_images.open_image(write(tmp_path / "b.tif", values(1, np.int16)), 3)


def test_the_sample_of_values_covers_small_images_and_stays_small():
    assert large_images._place_samples(200) == [0] and large_images._place_samples(300) == [0, 44]
    places = large_images._place_samples(40000)
    assert len(places) == 8 and places[0] == 0 and places[-1] == 40000 - 256


@pytest.mark.parametrize(
    "kind", ["orientation", "palette", "cmyk", "white_is_zero", "one_bit", "four_bits", "pages", "preview_first", "premultiplied"]
)
def test_other_tiffs_are_read_whole(tmp_path, kind, monkeypatch):
    path, num_channels = str(tmp_path / "a.tif"), 3
    if kind == "orientation":
        write(path, values(3), extratags=[(274, "H", 1, 6, True)])
    elif kind == "palette":
        PIL.Image.fromarray(values(3)).quantize(16).save(path)
    elif kind == "cmyk":
        PIL.Image.fromarray(values(3)).convert("CMYK").save(path)
    elif kind == "white_is_zero":
        write(path, values(1), photometric="miniswhite")
    elif kind == "one_bit":
        PIL.Image.fromarray(values(1)).convert("1").save(path)
    elif kind == "four_bits":
        write_gdal(path, values(1) % 16, nbits=4)
    elif kind == "preview_first":
        with tifffile.TiffWriter(path) as file:
            file.write(values(3)[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
            file.write(values(3), photometric="rgb", metadata=None)
    elif kind == "pages":
        num_channels = 5
        (tmp_path / "a.tif").write_bytes(channel_images.tiff(values(5), "pages"))
    else:
        write(path, values(4), extrasamples=["assocalpha"])
    whole = image_channels.decode(path, num_channels).pixels
    with large_images.open_image(path, num_channels) as source:
        assert not source.is_windowed and source.size == whole.shape[:2]
        np.testing.assert_array_equal(source.read(5, 6, 30, 40), whole[5:30, 6:40])
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1000)
    with pytest.raises(
        ValueError, match=rf"^{path} has .* pixels and .* is not read by windows: .*; save it as an upright, tiled TIFF"
    ):
        large_images.open_image(path, num_channels)


def test_files_above_the_limit_of_whole_images_are_read_by_windows(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", values(3))
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1000)
    with large_images.open_image(path, 3) as source:
        np.testing.assert_array_equal(source.read(5, 6, 30, 40), values(3)[5:30, 6:40])


def without_rasterio(monkeypatch):
    def load():
        raise ImportError("No module named 'rasterio'")

    monkeypatch.setattr(gdal, "load", load)


def test_without_rasterio_small_files_are_read_whole_and_large_ones_are_one_line(tmp_path, monkeypatch):
    without_rasterio(monkeypatch)
    path = write(tmp_path / "a.tif", values(3))
    with large_images.open_image(path, 3) as source:
        assert not source.is_windowed
        np.testing.assert_array_equal(source.read(5, 6, 30, 40), values(3)[5:30, 6:40])
    with pytest.raises(ValueError, match=r"bands \(3, 2, 1\) can only .* rasterio .*: pip install tpuseg\[large-images\]$"):
        large_images.open_image(path, 3, bands=(3, 2, 1))
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1000)
    said = rf"^{path} has {WIDTH}x{HEIGHT} pixels .* needs rasterio .*: pip install tpuseg\[large-images\]$"
    with pytest.raises(ValueError, match=said):
        large_images.open_image(path, 3)


def test_arrays_bytes_and_other_files(tmp_path):
    pixels = values(3)
    path = tmp_path / "a.png"
    path.write_bytes(odd_images.encode(pixels))
    for given_source in (pixels, path, str(path), path.read_bytes(), odd_images.encode(pixels, "TIFF")):
        with large_images.open_image(given_source, 3) as source:
            assert not source.is_windowed and source.georeference is None
            np.testing.assert_array_equal(source.read(5, 6, 30, 40), pixels[5:30, 6:40])
    with pytest.raises(ValueError, match=r"array of float64 \(2, 2, 3\), but must be uint8 \(height, width, 3\), RGB"):
        large_images.open_image(np.zeros((2, 2, 3)), 3)
    with pytest.raises(FileNotFoundError, match=r"none\.tif"):
        large_images.open_image(str(tmp_path / "none.tif"), 3)


@pytest.mark.parametrize("name", ["a#1.tif", "a?b=c.tif", "zip+file:x!y.tif", "ü é.tif", "http:a.tif"])
def test_odd_names(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, values(3))
    with large_images.open_image(name, 3) as source:
        assert source.is_windowed and source.name == name


@pytest.mark.parametrize("num_channels", (1, 3, 4, 5))
def test_a_window_outside_is_one_line(num_channels, tmp_path):
    pixels = values(num_channels)
    for source in (write(tmp_path / "a.tif", pixels), pixels.reshape(HEIGHT, WIDTH, num_channels)):
        with large_images.open_image(source, num_channels) as opened:
            for window in ((0, 0, HEIGHT + 1, 2), (-1, 0, 2, 2), (0, 5, 2, 5), (0, 0, 1, WIDTH + 1)):
                with pytest.raises(ValueError, match=rf"has {WIDTH}x{HEIGHT} pixels, but rows .* are to be read$"):
                    opened.read(*window)


def test_preview_averages_and_never_enlarges(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, ::2] = 100, 200, 40  # Every second column.
    path = write(tmp_path / "a.tif", pixels)
    for source in (path, pixels):
        with large_images.open_image(source, 3) as opened:
            assert opened.preview(4).tolist() == [[[50, 100, 20]] * 4] * 2
            np.testing.assert_array_equal(opened.preview(100), pixels)
            assert opened.preview(1).shape == (1, 1, 3)


def test_preview_repeats_grey_and_narrows_values(tmp_path):
    path = write(tmp_path / "a.tif", np.full((40, 60), 0x2345, np.uint16))
    with large_images.open_image(path, 3) as source:
        preview = source.preview(30)
    assert preview.shape == (20, 30, 3) and (preview == 0x23).all()


def test_preview_uses_the_smaller_copies_in_the_file(tmp_path):
    path = write_gdal(tmp_path / "a.tif", np.zeros((512, 512, 3), np.uint8), tiled=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([4], rasterio.enums.Resampling.nearest)
    with rasterio.open(path, "r+", overview_level=0) as dataset:
        dataset.write(np.full((3, 128, 128), 9, np.uint8))
    with large_images.open_image(path, 3) as source:
        assert (source.preview(100) == 9).all() and not source.read(0, 0, 512, 512).any()


def test_the_cache_is_bounded_and_larger_for_strips(tmp_path):
    class Dataset:
        width, dtypes, block_shapes = 40000, ("uint8",) * 3, [(256, 256)]

    assert large_images._choose_cache_size(Dataset()) == 64 << 20
    Dataset.block_shapes = [(1, 40000)]
    assert large_images._choose_cache_size(Dataset()) == 40000 * 1281 * 3
    Dataset.dtypes = ("float64",) * 8
    assert large_images._choose_cache_size(Dataset()) == 512 << 20
    with gdal.environment(64 << 20):
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == 64 << 20


def test_the_layout_of_a_file(tmp_path):
    path = write(tmp_path / "a.tif", values(4, np.uint16), byteorder=">")
    layout = tiff_layout.read(path)
    assert layout == tiff_layout.Layout((HEIGHT, WIDTH), 4, np.dtype(np.uint16), True, False, 1, 1, 0, "")
    assert tiff_layout.is_tiff(path) and not tiff_layout.is_tiff(str(tmp_path)) and not tiff_layout.is_tiff(str(tmp_path / "none"))


def test_numbers_of_bytes_that_are_too_large_do_no_harm_in_uncompressed_files(tmp_path):
    path = tmp_path / "a.tif"
    write(path, values(1), rowsperstrip=HEIGHT)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripByteCounts"].overwrite(HEIGHT * WIDTH + 99)
    require_equal_windows(str(path), 1)


def test_nothing_is_printed(tmp_path, repository):
    path = tmp_path / "a.tif"
    write(path, values(3), compression="deflate", tile=(32, 32))
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)
    program = """import sys; from tpuseg.io import large_images
with large_images.open_image(sys.argv[1], 3) as source:
    source.read(0, 0, 32, 32)
    try:
        source.preview(50)
    except ValueError:
        sys.exit(7)"""
    environment = {**os.environ, "PYTHONPATH": f"{repository / 'official'}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", program, path], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_the_module_needs_no_tensorflow(repository):
    program = "import sys; from tpuseg.io import large_images; sys.exit('tensorflow' in sys.modules or 'rasterio' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(repository / "official")}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0

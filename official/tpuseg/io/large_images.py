"""Reading windows of image files without decoding the whole image, where the format allows it.

    file                                               read by
    TIFF with grey or RGB values, upright              windows, with rasterio (`pip install tpuseg[large-images]`)
    every other file, bytes, arrays                    decoding the whole image (`image_channels.decode`), up to its limit

Both return the same pixels, except that the libraries interpolate the colours of a JPEG in a TIFF differently, by a few levels.
Values with more than 8 bits are converted with a fixed range, never with the extremes of a window.

C is the number of channels of the model. This module does not import TensorFlow.
"""

import abc
import contextlib
import dataclasses
import math
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg.io import gdal, image_channels, image_files, tiff_layout
from tpuseg.io.image_files import printable
from tpuseg.utils.messages import format_count

# Numbers of channels for which `image_channels.decode` reads a TIFF with Pillow, which returns 16-bit values with signs as 32-bit
# ones, so that their range must be given.
_READ_BY_PILLOW = (1, image_channels.RGB)
_MIB = 1 << 20
# A strip or tile of a file is in memory as a whole: compressed, and, unless it is the only one, decoded.
_MAX_BLOCK_BYTES = 512 * _MIB
# A row of windows of this height should stay decoded if the file has strips, because each window needs their whole width.
_ROWS_IN_CACHE = 1280
_MAX_CACHE_BYTES = 512 * _MIB
# Parts of an image whose values are shown if `pixel_range` is missing.
_SAMPLE_SIDE, _SAMPLES_PER_AXIS = 256, 8


@dataclasses.dataclass(frozen=True)
class Georeference:
    """The position of an image on the earth.

    Attributes:
      transform: (a, b, c, d, e, f); the map coordinates of the corner (column, row) of a pixel are x = a column + b row + c and
        y = d column + e row + f.
      crs: the coordinate reference system, `EPSG:n` or WKT; empty if the file has the transform only.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str


class ImageSource(abc.ABC):
    """An image of which windows can be read; close it after use, or use it in a `with` statement.

    Attributes:
      size: (h, w) in pixels.
      num_channels: C.
      name: path of the file, for messages.
      is_windowed: whether windows are decoded one by one; otherwise the whole image is in memory.
      georeference: position on the earth; None if the file has none.
    """

    is_windowed: bool

    def __init__(self, size: tuple[int, int], num_channels: int, name: str, georeference: Georeference | None = None) -> None:
        self.size = size
        self.num_channels = num_channels
        self.name = name
        self.georeference = georeference

    def __enter__(self) -> "ImageSource":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()

    def read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Reads the rows `top` to `bottom` - 1 and the columns `left` to `right` - 1.

        Returns:
          [bottom - top, right - left, C] uint8.

        Raises:
          ValueError: the window is not inside of the image, or its pixels are damaged; the message names the file.
        """
        height, width = self.size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            window = f"rows {top} to {bottom} and columns {left} to {right}"
            raise ValueError(f"{printable(self.name)} has {width}x{height} pixels, but {window} are to be read")
        return self._read(top, left, bottom, right)

    def preview(self, longest_side: int) -> np.ndarray:
        """Reads the whole image with a reduced size, by averages of pixels; it is never enlarged.

        Args:
          longest_side: maximum height and width of the result.

        Returns:
          [h', w', C] uint8.

        Raises:
          ValueError: the pixels are damaged; the message names the file.
        """
        scale = min(1.0, longest_side / max(self.size))
        height, width = (max(1, round(side * scale)) for side in self.size)
        return self._reduce((height, width))

    def close(self) -> None:  # noqa: B027  # Images in memory need nothing.
        """Closes the file."""

    @abc.abstractmethod
    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Reads a window that is inside of the image."""

    @abc.abstractmethod
    def _reduce(self, size: tuple[int, int]) -> np.ndarray:
        """Returns the whole image with another (h, w), which is not larger."""


def open_image(
    source: str | os.PathLike[str] | bytes | np.ndarray,
    num_channels: int,
    pixel_range: Sequence[float] = (),
    bands: Sequence[int] = (),
) -> ImageSource:
    """Opens an image to read windows of it.

    Args:
      source: path of a file, an encoded image, or [H, W, C] uint8 pixels.
      num_channels: C, the number of channels of the model; with 3, transparency is dropped and grey is repeated.
      pixel_range: see `image_files.decode`; the same for all channels.
      bands: numbers of the channels of the file to use, from 1 on. By default, all of them; of a file with a georeference and more
        than three channels the first three if C is 3.

    Raises:
      OSError: the file does not exist, or cannot be read.
      ValueError: it is not an image, is too large to be read whole, or has other channels; the message names the file.
    """
    if bands and len(bands) != num_channels:
        given = f"{format_count(len(bands), 'band')} ({', '.join(map(str, bands))})"
        raise ValueError(f"{given} are given, but the required number of channels is {num_channels}; give one for each channel")
    if isinstance(source, np.ndarray):
        return _open_array(source, num_channels, bands)
    wanted = _Wanted(num_channels, tuple(pixel_range), tuple(bands))
    if isinstance(source, bytes):
        return _open_whole(source, wanted, "only TIFF files are")
    path = os.fspath(source)
    return _open_tiff(path, wanted) if tiff_layout.is_tiff(path) else _open_whole(path, wanted, "only TIFF files are")


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What to read of a file; see `open_image`."""

    num_channels: int
    pixel_range: tuple[float, ...]
    bands: tuple[int, ...]


class _WholeImage(ImageSource):
    """An image in memory."""

    is_windowed = False

    def __init__(self, pixels: np.ndarray, name: str, georeference: Georeference | None = None) -> None:
        super().__init__((pixels.shape[0], pixels.shape[1]), pixels.shape[2], name, georeference)
        self._pixels = pixels

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        return self._pixels[top:bottom, left:right].copy()

    def _reduce(self, size: tuple[int, int]) -> np.ndarray:
        # One channel after the other needs the least memory, and allows any number of them.
        return np.stack([_reduce_channel(self._pixels[..., channel], size) for channel in range(self.num_channels)], axis=-1)


def _reduce_channel(channel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns [H, W] uint8 values with another (h, w), by averages."""
    height, width = size
    return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(channel)).resize((width, height), PIL.Image.Resampling.BOX))


class _WindowedTiff(ImageSource):
    """A TIFF that GDAL reads window by window."""

    is_windowed = True

    def __init__(self, dataset: Any, name: str, wanted: _Wanted, bands: Sequence[int], georeference: Georeference | None) -> None:
        """Creates the source.

        Args:
          dataset: open dataset of rasterio.
          name: see ImageSource.
          wanted: what to read.
          bands: numbers of the bands to read: C, or 1 to be repeated, or 3 that must be equal if C is 1.
          georeference: see ImageSource.
        """
        super().__init__(dataset.shape, wanted.num_channels, name, georeference)
        self._dataset = dataset
        self._pixel_range = wanted.pixel_range
        self._bands = list(bands)
        self._cache_bytes = _choose_cache_size(dataset)
        self._lock = threading.Lock()  # A dataset cannot be used by two threads at a time.

    def close(self) -> None:
        """Closes the file."""
        self._dataset.close()

    def require_range(self) -> None:
        """Raises ValueError if the values of black and white are not defined; it says which values a sample of the image has."""
        height, width = self.size
        tops, lefts = (_place_samples(side) for side in self.size)
        parts = [
            self._read_values(((top, min(top + _SAMPLE_SIDE, height)), (left, min(left + _SAMPLE_SIDE, width))))
            for top in tops
            for left in lefts
        ]
        self._convert(np.concatenate([part.reshape(-1, 1, len(self._bands)) for part in parts]))

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        return self._convert(self._read_values(((top, bottom), (left, right))))

    def _reduce(self, size: tuple[int, int]) -> np.ndarray:
        average = gdal.load().enums.Resampling.average
        return self._convert(self._read_values(None, out_shape=(len(self._bands), *size), resampling=average))

    def _read_values(self, window: tuple[tuple[int, int], tuple[int, int]] | None, **options: object) -> np.ndarray:
        """Returns [h, w, bands] stored values of ((top, bottom), (left, right)), or of the whole image."""
        try:
            with self._lock, gdal.environment(self._cache_bytes):
                values = self._dataset.read(self._bands, window=window, **options)
        except gdal.load().errors.RasterioError as error:
            said = f"cannot be read: {gdal.describe(error)}; it is damaged or truncated, copy or download it again"
            raise ValueError(f"{printable(self.name)} {said}") from error
        return np.ascontiguousarray(np.moveaxis(values, 0, -1))

    def _convert(self, values: np.ndarray) -> np.ndarray:
        """Converts [h, w, bands] stored values to [h, w, C] uint8, as `image_channels.decode` does."""
        if values.dtype != np.uint8:
            bits = values.dtype.itemsize * 8
            if values.dtype == np.int16 and self.num_channels in _READ_BY_PILLOW:
                values = values.astype(np.int32)
            values, _ = image_files.narrow_values(values, self._pixel_range, bits, self.name)
        if self.num_channels < values.shape[2]:
            if not (values == values[..., :1]).all():
                raise image_channels.WrongChannelsError(image_channels.describe_wrong_count(self.name, values.shape[2], 1))
            values = values[..., :1]
        return values if values.shape[2] == self.num_channels else np.repeat(values, self.num_channels, axis=2)


def _place_samples(side: int) -> list[int]:
    """Returns the beginnings of the samples on an axis, evenly spaced; together they cover a short axis completely."""
    count = min(_SAMPLES_PER_AXIS, -(-side // _SAMPLE_SIDE))
    return [(side - _SAMPLE_SIDE) * place // (count - 1) for place in range(count)] if count > 1 else [0]


def _choose_cache_size(dataset: Any) -> int:
    """Returns the memory for decoded blocks: more for strips, which are as wide as the image."""
    height, width = dataset.block_shapes[0]
    if width < dataset.width:
        return gdal.CACHE_BYTES
    needed = dataset.width * (_ROWS_IN_CACHE + height) * _bytes_per_pixel(dataset)
    return min(max(needed, gdal.CACHE_BYTES), _MAX_CACHE_BYTES)


def _bytes_per_pixel(dataset: Any) -> int:
    return int(sum(np.dtype(name).itemsize for name in dataset.dtypes))


def _open_array(pixels: np.ndarray, num_channels: int, bands: Sequence[int]) -> ImageSource:
    """Opens an array."""
    if pixels.ndim == 3 and bands:
        _require_bands(bands, pixels.shape[2], "the image")
        pixels = pixels[..., [band - 1 for band in bands]]
    if pixels.ndim != 3 or pixels.shape[2] != num_channels or pixels.dtype != np.uint8 or not pixels.size:
        wanted = f"uint8 (height, width, {num_channels})" + ", RGB" * (num_channels == image_channels.RGB)
        raise ValueError(f"the image is an array of {pixels.dtype} {pixels.shape}, but must be {wanted}")
    return _WholeImage(pixels, "the image")


def _open_whole(source: str | bytes, wanted: _Wanted, reason: str, georeference: Georeference | None = None) -> ImageSource:
    """Decodes a whole image; `reason` says why it is not read by windows."""
    name = "the image" if isinstance(source, bytes) else source
    if wanted.bands and wanted.bands != tuple(range(1, wanted.num_channels + 1)):
        listed = ", ".join(map(str, wanted.bands))
        said = f"bands ({listed}) can only be chosen in images that are read by windows, and this one is not: {reason}"
        raise ValueError(f"{printable(name)}: {said}")
    pixels = image_channels.decode(source, wanted.num_channels, pixel_range=wanted.pixel_range).pixels
    return _WholeImage(pixels, name, georeference)


def _open_tiff(path: str, wanted: _Wanted) -> ImageSource:
    """Opens a TIFF by windows, if possible."""
    layout = tiff_layout.read(path)
    if layout is None:
        return _open_whole(path, wanted, "its header is damaged")
    dataset, obstacle = _open_dataset(path)
    with contextlib.ExitStack() as stack:
        georeference = None
        if dataset is not None:
            stack.callback(dataset.close)
            georeference = _read_georeference(dataset) if layout.orientation == 1 else None
            obstacle = _find_obstacle(layout, dataset, wanted)
            if not obstacle:
                source = _open_windows(dataset, path, layout, wanted, georeference)
                stack.pop_all()  # The source closes the dataset.
                return source
        _require_small(path, layout, wanted, obstacle)
        return _open_whole(path, wanted, obstacle, georeference)


def _open_dataset(path: str) -> tuple[Any, str]:
    """Returns the open dataset and nothing, or None and the reason."""
    try:
        rasterio = gdal.load()
    except ImportError as error:
        return None, f"this needs rasterio ({error}): {gdal.INSTALL}"
    try:
        with gdal.environment():
            # An object of pathlib is never taken for an address in the network or a member of an archive.
            return rasterio.open(pathlib.Path(os.path.abspath(path)), driver="GTiff"), ""
    except UnicodeError:
        return None, "its name is not UTF-8; rename it"
    except rasterio.errors.RasterioError as error:
        return None, f"GDAL cannot open it ({gdal.describe(error)})"


def _find_obstacle(layout: tiff_layout.Layout, dataset: Any, wanted: _Wanted) -> str:
    """Returns why windows of a TIFF are not read, and what to do; empty if they are."""
    block = max(math.prod(dataset.block_shapes[0]) * _bytes_per_pixel(dataset), layout.largest_part)
    found = layout.obstacle
    if block > _MAX_BLOCK_BYTES:
        found = found or f"a strip or tile of it has {block // _MIB} MiB"
    if layout.has_associated_alpha and wanted.num_channels == image_channels.RGB and not wanted.bands:
        found = found or "its colours are multiplied by transparency"
    if layout.num_bands == 1 < layout.num_pages == wanted.num_channels != image_channels.RGB:
        found = found or "each of its channels is a page"
    return found and f"{found}; save it as an upright, tiled TIFF with grey or RGB values in one page"


def _open_windows(
    dataset: Any, path: str, layout: tiff_layout.Layout, wanted: _Wanted, georeference: Georeference | None
) -> ImageSource:
    """Opens a TIFF of which windows can be read."""
    bands = _choose_bands(path, layout, wanted, georeference is not None)
    source = _WindowedTiff(dataset, path, wanted, bands, georeference)
    if not wanted.pixel_range and layout.dtype not in (np.uint8, np.uint16):
        source.require_range()
    return source


def _choose_bands(path: str, layout: tiff_layout.Layout, wanted: _Wanted, is_georeferenced: bool) -> Sequence[int]:
    """Returns the numbers of the bands to read; raises ValueError if their number does not fit."""
    found, num_channels = layout.num_bands, wanted.num_channels
    if wanted.bands:
        _require_bands(wanted.bands, found, path)
        return wanted.bands
    if num_channels == image_channels.RGB:
        if found < num_channels:
            return (1,)  # Grey, with or without transparency.
        fits = found == num_channels or layout.is_rgb or is_georeferenced
    else:
        fits = found == num_channels or (num_channels == 1 and layout.is_rgb and found == image_channels.RGB)
    if not fits:
        raise image_channels.WrongChannelsError(image_channels.describe_wrong_count(path, found, num_channels))
    return range(1, (num_channels if num_channels == image_channels.RGB else found) + 1)


def _require_bands(bands: Sequence[int], found: int, name: str) -> None:
    """Raises ValueError if an image lacks one of the bands."""
    for band in bands:
        if not 1 <= band <= found:
            raise ValueError(f"{printable(name)} has no band {band}, but {format_count(found, 'band')}, numbered from 1")


def _require_small(path: str, layout: tiff_layout.Layout, wanted: _Wanted, reason: str) -> None:
    """Raises ValueError if an image is too large to be decoded whole; `reason` says why it is not read by windows."""
    height, width = layout.size
    num_values = height * width * (wanted.num_channels if image_channels.is_stacked(wanted.num_channels) else 1)
    num_bytes = os.path.getsize(path)
    if num_values > image_files.MAX_PIXELS or num_bytes > image_files.MAX_FILE_BYTES:
        said = f"has {width}x{height} pixels and {num_bytes:,d} bytes, too many to decode them all, and is not read by windows"
        raise ValueError(f"{printable(path)} {said}: {reason}")


def _read_georeference(dataset: Any) -> Georeference | None:
    """Returns the position of an image on the earth, if its file or a file next to it has it."""
    with gdal.environment():
        crs, transform = dataset.crs, tuple(dataset.transform)[:6]
        if not crs and dataset.transform.is_identity:
            return None
        return Georeference(transform, _write_crs(crs) if crs else "")  # type: ignore[arg-type]


def _write_crs(crs: Any) -> str:
    """Returns a coordinate reference system as `EPSG:n` if this is exactly the same, otherwise as WKT."""
    number = crs.to_epsg()
    return f"EPSG:{number}" if number is not None and type(crs).from_epsg(number) == crs else str(crs.to_wkt())

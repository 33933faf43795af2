"""Writing results of large images with their position on the earth: class maps as TIFF, and outlines of objects as GeoJSON.

Corner coordinates of an image count the edges of pixels, so that the pixel of row 0 and column 2 has the corners (2, 0) and (3, 1):

    x  0   1   2   3
    y 0+---+---+---+
       |   |   | # |
      1+---+---+---+
"""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tpuseg.io import files, gdal
from tpuseg.io.large_images import Georeference

# The corners (x, y) of a closed line; the first one is repeated at the end.
Ring: TypeAlias = list[tuple[float, float]]
# The outer ring, followed by those of the holes.
Polygon: TypeAlias = list[Ring]

# Side of the tiles of a class map.
_BLOCK = 256
# Longitude before latitude, as in every GeoJSON file without a coordinate reference system.
_LONGITUDE_LATITUDE = {"EPSG:4326": "urn:ogc:def:crs:OGC:1.3:CRS84"}


class ClassRaster:
    """Writes a class map row by row as a tiled TIFF with deflate compression; use it in a `with` statement.

    The file is written under a temporary name and is renamed when the `with` statement ends; it is removed if there is an error.
    Files of 4 GB and more are BigTIFF. The memory is that of 256 rows.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        georeference: Georeference | None = None,
        colormap: np.ndarray | None = None,
    ) -> None:
        """Creates the file.

        Args:
          path: path of the file on a local disk; its folder is created if it does not exist.
          size: (h, w) of the class map.
          georeference: position on the earth.
          colormap: [K, 3] uint8 colours of the classes 0 to K - 1.

        Raises:
          OSError: the file cannot be written.
          ValueError: the path is not on a local disk, or rasterio is not installed.
        """
        gdal.require("writing a TIFF")
        if "://" in path:
            raise ValueError(f"{path} is not on a local disk, where alone TIFFs are written; give another folder and copy it")
        self._path, self._size = path, size
        self._temporary = files.temporary_name(path)
        self._buffer = np.zeros((_BLOCK, size[1]), np.uint8)
        self._num_rows = 0
        try:
            self._create(_choose_profile(size, georeference), colormap)
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> "ClassRaster":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Renames the complete file, or removes it if there was an error."""
        try:
            if kind is None:
                self._finish()
        finally:
            self._remove()

    def write_rows(self, top: int, rows: np.ndarray) -> None:
        """Writes the next rows.

        Args:
          top: number of the first of these rows, which is the number of rows that are written already.
          rows: [n, w] uint8 classes; n is at least 1.

        Raises:
          OSError: the file cannot be written.
          ValueError: the rows are not the next ones, or have another width or type.
        """
        height, width = self._size
        if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.uint8 or top != self._num_rows or top + len(rows) > height:
            raise ValueError(
                f"{self._path}: rows {rows.dtype} {rows.shape} from {top} on are not uint8 ({height - self._num_rows} or less,"
                f" {width}) from {self._num_rows} on"
            )
        while len(rows):
            start = self._num_rows % _BLOCK
            count = min(_BLOCK - start, len(rows))
            self._buffer[start : start + count] = rows[:count]
            self._num_rows += count
            rows = rows[count:]
            if self._num_rows % _BLOCK == 0 or self._num_rows == height:
                self._write_block(start + count)

    def _create(self, profile: dict[str, Any], colormap: np.ndarray | None) -> None:
        """Creates the temporary file."""
        with self._described_errors(), gdal.environment():
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            self._dataset = gdal.load().open(pathlib.Path(os.path.abspath(self._temporary)), "w", **profile)
            if colormap is not None:
                self._dataset.write_colormap(1, {number: tuple(map(int, color)) for number, color in enumerate(colormap)})

    def _write_block(self, count: int) -> None:
        """Writes the first rows of the buffer, which end with the last row so far."""
        window = ((self._num_rows - count, self._num_rows), (0, self._size[1]))
        with self._described_errors(), gdal.environment():
            self._dataset.write(self._buffer[:count], 1, window=window)

    def _finish(self) -> None:
        """Completes the file and gives it its name."""
        if self._num_rows != self._size[0]:
            raise ValueError(f"{self._path}: {self._num_rows} of {self._size[0]} rows were written")
        with self._described_errors():
            with gdal.environment():
                self._dataset.close()
            os.replace(self._temporary, self._path)

    def _remove(self) -> None:
        """Removes the temporary file, if there is one."""
        with contextlib.suppress(Exception), gdal.environment():
            self._dataset.close()
        with contextlib.suppress(OSError):
            os.remove(self._temporary)

    @contextlib.contextmanager
    def _described_errors(self) -> Iterator[None]:
        """Raises errors of GDAL and of the file system as OSError that names the file."""
        rasterio = gdal.load()
        try:
            yield
        except (OSError, ValueError, rasterio.errors.RasterioError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else gdal.describe(error)
            raise OSError(f"cannot write {self._path}: {reason}") from error


def _choose_profile(size: tuple[int, int], georeference: Georeference | None) -> dict[str, Any]:
    """Returns the options of rasterio for a class map."""
    place = {}
    if georeference is not None:
        place = {"transform": gdal.load().Affine(*georeference.transform), "crs": georeference.crs}
    return {
        **{"driver": "GTiff", "height": size[0], "width": size[1], "count": 1, "dtype": "uint8", **place},
        **{"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "bigtiff": "if_safer"},
    }


def trace_mask(mask: np.ndarray, top: int, left: int) -> list[Polygon]:
    """Returns the outlines of a mask along the edges of its pixels; parts that share a corner only are separate polygons.

    Args:
      mask: [h, w] bool part of an image.
      top: row of its first pixel in the image.
      left: column of its first pixel in the image.

    Returns:
      The polygons, in corner coordinates of the image; together they cover exactly the pixels of the mask.

    Raises:
      ValueError: rasterio is not installed.
    """
    rasterio = gdal.require("tracing masks")
    values = np.ascontiguousarray(mask, np.uint8)
    with gdal.environment():
        shapes = list(rasterio.features.shapes(values, mask=values.astype(bool), connectivity=4))
    return [[[(x + left, y + top) for x, y in ring] for ring in shape["coordinates"]] for shape, _ in shapes]


def write_geojson(
    path: str,
    polygons_by_object: Iterable[Sequence[Polygon]],
    properties: Iterable[dict[str, Any]],
    georeference: Georeference | None,
) -> None:
    """Writes objects as features of a GeoJSON file (RFC 7946), in map coordinates.

    The coordinates belong to the coordinate reference system of the image, which the file names in the member `crs` (GeoJSON 2008,
    section 3), as QGIS and GDAL read it. Without a georeference they are corner coordinates of the image, and there is no `crs`.

    Args:
      path: path of the file.
      polygons_by_object: the polygons of each object, in corner coordinates of the image; an object without has no geometry.
      properties: the properties of each object: text, numbers, true or false.
      georeference: position of the image on the earth.

    Raises:
      OSError: the file cannot be written.
      ValueError: a property is not a finite number, or there are more objects than properties.
    """
    features = [
        _encode({"type": "Feature", "properties": described, "geometry": _make_geometry(polygons, georeference)}, path)
        for polygons, described in zip(polygons_by_object, properties, strict=True)
    ]
    members = ['"type": "FeatureCollection"']
    if georeference is not None and georeference.crs:
        members.append(f'"crs": {json.dumps({"type": "name", "properties": {"name": _name_crs(georeference.crs)}})}')
    lines = ",\n".join(features)
    members.append(f'"features": [\n{lines}\n]' if features else '"features": []')
    files.write_text(path, "{" + ",\n".join(members) + "}\n")


def _name_crs(crs: str) -> str:
    """Returns the name of a coordinate reference system in GeoJSON."""
    urn = crs.replace("EPSG:", "urn:ogc:def:crs:EPSG::") if crs.startswith("EPSG:") else crs
    return _LONGITUDE_LATITUDE.get(crs, urn)


def _encode(feature: dict[str, Any], path: str) -> str:
    """Returns a feature as JSON in one line; scalars of NumPy become numbers."""
    try:
        return json.dumps(feature, allow_nan=False, default=lambda value: value.item())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: the properties {feature['properties']} cannot be written as JSON: {error}") from error


def _make_geometry(polygons: Sequence[Polygon], georeference: Georeference | None) -> dict[str, Any] | None:
    """Returns the geometry of an object; None if it has no polygon."""
    transform = georeference.transform if georeference is not None else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    placed = [
        [_orient(_place(ring, transform), counterclockwise=number == 0) for number, ring in enumerate(polygon)]
        for polygon in polygons
    ]
    if len(placed) == 1:
        return {"type": "Polygon", "coordinates": placed[0]}
    return {"type": "MultiPolygon", "coordinates": placed} if placed else None


def _place(ring: Ring, transform: Sequence[float]) -> Ring:
    """Returns the map coordinates of corners."""
    a, b, c, d, e, f = transform
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in ring]


def _orient(ring: Ring, counterclockwise: bool) -> Ring:
    """Returns a ring in the given direction, where y points up: outer rings are counterclockwise (RFC 7946, section 3.1.6)."""
    # Differences to the first corner, because map coordinates have many digits.
    (x0, y0), *_ = ring
    doubled = math.fsum((x - x0) * (v - y0) - (u - x0) * (y - y0) for (x, y), (u, v) in zip(ring[:-1], ring[1:], strict=True))
    return ring if (doubled > 0) == counterclockwise else ring[::-1]

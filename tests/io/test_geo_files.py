"""Class maps and outlines of objects, read back: the same pixels at the same place."""

import json
import os
import resource

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpuseg.io import gdal, geo_files, large_images
from tpuseg.io.large_images import Georeference

rasterio = pytest.importorskip("rasterio")

PLACE = Georeference((0.5, 0.0, 500000.0, 0.0, -0.25, 5800000.0), "EPSG:32633")
COLORS = np.array([[0, 0, 0], [10, 20, 30], [255, 128, 1]], np.uint8)


def classes(height, width):
    return np.random.default_rng(0).integers(0, 3, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("heights", [[600], [1] * 600, [255, 2, 343], [256, 256, 88], [512, 88]])
def test_a_class_map_has_its_rows_place_and_colours(tmp_path, heights):
    written, path = classes(600, 300), str(tmp_path / "folder" / "map.tif")
    with geo_files.ClassRaster(path, (600, 300), PLACE, COLORS) as raster:
        top = 0
        for height in heights:
            raster.write_rows(top, written[top : top + height])
            top += height
        assert not os.path.exists(path)
    assert os.listdir(tmp_path / "folder") == ["map.tif"]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), written)
        assert dataset.block_shapes == [(256, 256)] and dataset.compression.name == "deflate"
        assert tuple(dataset.transform)[:6] == PLACE.transform and dataset.crs == rasterio.crs.CRS.from_epsg(32633)
        assert [dataset.colormap(1)[number][:3] for number in range(3)] == [(0, 0, 0), (10, 20, 30), (255, 128, 1)]
    with tifffile.TiffFile(path) as file:  # Not by GDAL.
        np.testing.assert_array_equal(file.pages[0].asarray(), written)


def test_a_class_map_without_place_and_colours(tmp_path):
    path = str(tmp_path / "map.tif")
    with geo_files.ClassRaster(path, (3, 5)) as raster:
        raster.write_rows(0, classes(3, 5))
    with large_images.open_image(path, 1) as source:
        np.testing.assert_array_equal(source.read(0, 0, 3, 5)[..., 0], classes(3, 5))
        assert source.georeference is None


@pytest.mark.parametrize(
    "place",
    [
        PLACE,
        Georeference((0.25, 0.5, 100.0, -0.5, 0.25, 200.0), "EPSG:3857"),
        Georeference((1.0, 0.0, 7.0, 0.0, -1.0, 9.0), ""),
    ],
)
def test_the_place_of_an_image_becomes_that_of_its_class_map(tmp_path, place):
    path = str(tmp_path / "map.tif")
    with geo_files.ClassRaster(path, (3, 5), place) as raster:
        raster.write_rows(0, classes(3, 5))
    assert large_images.open_image(path, 1).georeference == place


def test_a_place_in_a_reference_system_without_a_number(tmp_path):
    crs = rasterio.crs.CRS.from_proj4("+proj=tmerc +lat_0=3 +lon_0=7 +k=1 +x_0=9 +y_0=0 +ellps=GRS80 +units=m")
    with geo_files.ClassRaster(str(tmp_path / "map.tif"), (3, 5), Georeference(PLACE.transform, crs.to_wkt())) as raster:
        raster.write_rows(0, classes(3, 5))
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.crs == crs
    assert os.listdir(tmp_path) == ["map.tif"]


def test_an_error_removes_the_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "map.tif"
    path.write_text("old")
    with pytest.raises(KeyError), geo_files.ClassRaster(str(path), (600, 5)) as raster:
        raster.write_rows(0, np.zeros((300, 5), np.uint8))
        raise KeyError
    with pytest.raises(ValueError, match=r"map\.tif: 2 of 3 rows were written$"):
        with geo_files.ClassRaster(str(path), (3, 5)) as raster:
            raster.write_rows(0, np.zeros((2, 5), np.uint8))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["map.tif"]


def test_wrong_rows_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="3 of 9 rows"):
        with geo_files.ClassRaster(str(tmp_path / "map.tif"), (9, 5)) as raster:
            raster.write_rows(0, np.zeros((3, 5), np.uint8))
            for top, rows in ((0, np.zeros((1, 5), np.uint8)), (3, np.zeros((1, 4), np.uint8)), (3, np.zeros((7, 5), np.uint8))):
                with pytest.raises(ValueError, match=r"map\.tif: rows uint8 .* are not uint8 \(6 or less, 5\) from 3 on"):
                    raster.write_rows(top, rows)
            with pytest.raises(ValueError, match=r"rows int64 \(1, 5\)"):
                raster.write_rows(3, np.zeros((1, 5), np.int64))


@pytest.mark.parametrize(("height", "limit"), [(2048, 300_000), (200, 100_000), (200, 150_000), (200, 8)])
def test_a_full_disk_is_one_line(tmp_path, capfd, height, limit):
    path = str(tmp_path / "map.tif")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (height, 1024)).astype(np.uint8)
    try:
        with pytest.raises(OSError, match=rf"^cannot write {path}: ") as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # Like a full disk: a write ends with an error.
            with geo_files.ClassRaster(path, noise.shape) as raster:
                raster.write_rows(0, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == [] and "\n" not in str(error.value) and capfd.readouterr().out == ""


def test_paths_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^cannot write .*/file/map\.tif: "):
        geo_files.ClassRaster(str(tmp_path / "file" / "map.tif"), (3, 5))
    with pytest.raises(OSError, match=r"^cannot write .*/map\.tif: "):
        geo_files.ClassRaster(str(tmp_path / "map.tif"), (3, 5), Georeference(PLACE.transform, "EPSG:0"))
    with pytest.raises(OSError, match=r"^cannot write .*/map\.tif: "):
        geo_files.ClassRaster(str(tmp_path / "map.tif"), (3, 5), None, np.zeros((5, 7), int))
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ValueError, match=r"^gs://bucket/map\.tif is not on a local disk"):
        geo_files.ClassRaster("gs://bucket/map.tif", (3, 5))


def test_without_rasterio_both_say_what_to_install(tmp_path, monkeypatch):
    def load():
        raise ImportError("No module named 'rasterio'")

    monkeypatch.setattr(gdal, "load", load)
    for call in (
        lambda: geo_files.ClassRaster(str(tmp_path / "a.tif"), (3, 5)),
        lambda: geo_files.trace_mask(np.ones((2, 2), bool), 0, 0),
    ):
        with pytest.raises(ValueError, match=r"needs rasterio \(No module .*\): pip install tpuseg\[large-images\]$"):
            call()


def test_outlines_by_hand():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    ((outer, hole),) = geo_files.trace_mask(mask, 10, 20)
    assert outer[0] == outer[-1] and set(outer) == {(20, 10), (23, 10), (23, 13), (20, 13)} and len(outer) == 5
    assert hole[0] == hole[-1] and set(hole) == {(21, 11), (22, 11), (22, 12), (21, 12)}
    assert geo_files.trace_mask(np.zeros((3, 3), bool), 0, 0) == []
    assert len(geo_files.trace_mask(np.eye(2, dtype=bool), 0, 0)) == 2


def read_features(path):
    return json.loads((path).read_text())


MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
RING = np.pad(np.pad(np.ones((1, 1), bool), 1), 1, constant_values=True)


@given(masks=st.lists(MASKS, min_size=1, max_size=3), top=st.integers(0, 5), left=st.integers(0, 5))
@example(masks=[RING, np.eye(4, dtype=bool), ~np.eye(4, dtype=bool)], top=1, left=2)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outlines_are_the_pixels(tmp_path, masks, top, left):
    path = tmp_path / "objects.geojson"
    polygons = [geo_files.trace_mask(mask, top, left) for mask in masks]
    geo_files.write_geojson(str(path), polygons, [{"number": number} for number in range(len(masks))], PLACE)
    features = read_features(path)["features"]
    assert [feature["properties"]["number"] for feature in features] == list(range(len(masks)))
    for feature, mask in zip(features, masks, strict=True):
        expected = np.zeros((16, 16), np.uint8)
        expected[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        if not mask.any():
            assert feature["geometry"] is None
            continue
        drawn = rasterio.features.rasterize([feature["geometry"]], (16, 16), transform=rasterio.Affine(*PLACE.transform))
        np.testing.assert_array_equal(drawn, expected)


def area(ring):
    """Returns the area of a ring, which is positive if it is counterclockwise where y points up."""
    return sum(x * v - u * y for (x, y), (u, v) in zip(ring[:-1], ring[1:], strict=True)) / 2


def test_coordinates_and_directions_of_geojson(tmp_path):
    path = tmp_path / "objects.geojson"
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    for place, crs in ((PLACE, "urn:ogc:def:crs:EPSG::32633"), (None, None), (Georeference(PLACE.transform, ""), None)):
        geo_files.write_geojson(str(path), [geo_files.trace_mask(mask, 0, 4)], [{"class": "car", "score": np.float32(0.5)}], place)
        content = read_features(path)
        (feature,) = content["features"]
        outer, hole = feature["geometry"]["coordinates"]
        assert feature["geometry"]["type"] == "Polygon" and feature["properties"] == {"class": "car", "score": 0.5}
        assert content.get("crs", {}).get("properties", {}).get("name") == crs
        if place is None:
            assert {tuple(corner) for corner in outer} == {(4, 0), (7, 0), (7, 3), (4, 3)} and (area(outer), area(hole)) == (9, -1)
        else:
            corners = {(500002, 5800000), (500003.5, 5800000), (500003.5, 5799999.25), (500002, 5799999.25)}
            assert {tuple(corner) for corner in outer} == corners
            assert area([(x - 500000, y - 5800000) for x, y in outer]) == 9 / 8
            assert area([(x - 500000, y - 5800000) for x, y in hole]) == -1 / 8


def test_coordinates_of_a_turned_image(tmp_path):
    path = tmp_path / "objects.geojson"
    pixel = geo_files.trace_mask(np.ones((1, 1), bool), 0, 1)
    geo_files.write_geojson(str(path), [pixel], [{}], Georeference((0.25, 0.5, 100.0, -0.5, 0.25, 200.0), ""))
    (ring,) = read_features(path)["features"][0]["geometry"]["coordinates"]
    assert {tuple(corner) for corner in ring} == {(100.25, 199.5), (100.5, 199), (101, 199.25), (100.75, 199.75)}


def test_names_of_reference_systems(tmp_path):
    path = tmp_path / "objects.geojson"
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    for crs, name in (("EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"), (wkt, wkt), ("EPSG:25832", "urn:ogc:def:crs:EPSG::25832")):
        geo_files.write_geojson(str(path), [], [], Georeference(PLACE.transform, crs))
        assert read_features(path) == {
            **{"type": "FeatureCollection", "features": []},
            "crs": {"type": "name", "properties": {"name": name}},
        }


def test_properties_that_are_no_json_are_one_line(tmp_path):
    path = str(tmp_path / "objects.geojson")
    for value in (float("nan"), object()):
        with pytest.raises(ValueError, match=rf"^{path}: the properties .* cannot be written as JSON"):
            geo_files.write_geojson(path, [[]], [{"score": value}], None)
    with pytest.raises(ValueError, match="shorter"):
        geo_files.write_geojson(path, [[], []], [{}], None)
    assert os.listdir(tmp_path) == []

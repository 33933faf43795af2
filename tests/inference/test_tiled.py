"""Prediction and evaluation by windows, with untrained networks of both architectures."""

import dataclasses
import os

import labelled_by_model
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tifffile
import untrained_runs

from tpuseg.export import verify
from tpuseg.inference import predictors, tiled, tiled_files
from tpuseg.io import image_files, large_images
from tpuseg.maskrcnn.tiles import MergedObjects
from tpuseg.ops import windows

NAMES = ("deeplab", "maskrcnn")
TILE = 96


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, predictors.Predictor]:
    """Runs that were evaluated by windows of 96 pixels, of which neighbours share a quarter."""
    root = tmp_path_factory.mktemp("tiled")
    override = f",task.evaluation.tile={TILE},task.evaluation.tile_overlap=0.25"
    return {name: predictors.Predictor(untrained_runs.write_run(name, root / name, override)) for name in NAMES}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """An image of 3 x 4 windows."""
    return untrained_runs.blobs((230, 300), 5)


def as_arrays(prediction: object) -> list[np.ndarray]:
    if isinstance(prediction, np.ndarray):
        return [prediction]
    return [prediction.boxes, prediction.scores, prediction.classes, prediction.pixels()]


@pytest.mark.parametrize("name", NAMES)
def test_one_window_predicts_like_the_whole_image(name: str, models: dict[str, predictors.Predictor]) -> None:
    model, image = models[name], untrained_runs.blobs((70, 111), 1)
    (whole,), (one,) = model.predict(image, tile=0), model.predict(image, tile=500)
    assert len(whole) > 3
    for found, expected in zip(as_arrays(one), as_arrays(whole), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_windows_of_the_evaluation_are_the_default(
    name: str, models: dict[str, predictors.Predictor], photo: np.ndarray
) -> None:
    model = models[name]
    (default,), (given,) = model.predict(photo), model.predict(photo, tile=TILE, overlap=0.25)
    (other,) = model.predict(photo, tile=TILE, overlap=0.5)
    assert all(np.array_equal(*pair) for pair in zip(as_arrays(default), as_arrays(given), strict=True))
    assert any(not np.array_equal(*pair) for pair in zip(as_arrays(default), as_arrays(other), strict=True))
    assert model(photo).__class__ in (np.ndarray, MergedObjects)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_the_batch_size_does_not_change_the_prediction(
    name: str, batch_size: int, models: dict[str, predictors.Predictor], photo: np.ndarray
) -> None:
    model, tiling, counts = models[name], windows.Tiling(TILE, 0.25), []
    with model.open(photo) as source:
        found = tiled.predict(model, source, tiling, batch_size, lambda count, merger: counts.append(count))
    assert sum(counts) == len(windows.Grid(photo.shape[:2], tiling)) and max(counts) == batch_size
    for array, expected in zip(as_arrays(found), as_arrays(model(photo)), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (33, 97)])
@pytest.mark.parametrize("name", NAMES)
def test_strips_of_one_pixel(name: str, size: tuple[int, int], models: dict[str, predictors.Predictor]) -> None:
    image = np.full((*size, 3), 100, np.uint8)
    (found,) = models[name].predict(image, tile=32)
    assert (found.shape if isinstance(found, np.ndarray) else found.size) == size


def test_a_scale_enlarges_the_windows(models: dict[str, predictors.Predictor], photo: np.ndarray) -> None:
    """DeepLab does not enlarge small images, so a window at twice its size gives other scores than at its own size."""
    image = photo[:60, :70]
    enlarged = tf.image.resize(tf.constant(image), (120, 140), method="bilinear").numpy().round().astype(np.uint8)
    (found,) = models["deeplab"].predict(image, tile=80, tile_scale=2.0)
    (expected,) = models["deeplab"].predict(enlarged, tile=0)
    assert found.shape == (60, 70)
    assert (found == expected[::2, ::2]).mean() > 0.95
    assert not np.array_equal(found, models["deeplab"].predict(image, tile=0)[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": 96, "overlap": 1.0}, "the overlap of tiles is 1, but must be at least 0 and less than 1"),
        ({"tile": 7}, "the tile size is 7, but must be at least 32 pixels"),
        ({"tile": 96, "tile_scale": 0.0}, "the scale of tiles is 0"),
    ],
)
def test_values_out_of_range(values: dict[str, float], message: str, models: dict[str, predictors.Predictor]) -> None:
    with pytest.raises(ValueError, match=message):
        models["deeplab"].predict(np.zeros((50, 50, 3), np.uint8), **values)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_and_prediction_by_windows_agree(
    name: str, models: dict[str, predictors.Predictor], photo: np.ndarray, tmp_path: object
) -> None:
    """The records' truth comes from the predictions by windows, so an evaluation of whole images has lower scores."""
    model, path = models[name], f"{tmp_path}/some.tfrecord"
    write = labelled_by_model.WRITERS[name]
    with tf.io.TFRecordWriter(path) as writer:
        for number, image in enumerate((photo, photo[:100, :90], photo[50:, :200])):
            writer.write(write(model, image, number))
    task = verify._create_task(model, path)
    by_windows = verify._score_checkpoint(task, model)
    images = iter([photo, photo[:100, :90], photo[50:, :200]])
    assert verify._score(task, lambda encoded: model(next(images))) == pytest.approx(by_windows, abs=1e-3)
    assert task.num_evaluation_rows() == 12 + 2 + 9 and task.num_evaluation_examples() == 3
    settings = model.config.task
    whole_images = settings.replace(evaluation={**settings.evaluation.as_dict(), "tile": 0})
    model.task._task_config, kept = whole_images, model.task._task_config
    try:
        assert verify._score_checkpoint(verify._create_task(_with_task(model, whole_images), path), model) != by_windows
    finally:
        model.task._task_config = kept


def _with_task(model: predictors.Predictor, settings: object) -> object:
    config = model.config.replace(task=settings.as_dict())
    return dataclasses.make_dataclass("Model", ["config", "task"])(config, model.task)


@pytest.fixture
def tiff(photo: np.ndarray, tmp_path: object) -> str:
    path = f"{tmp_path}/photo.tif"
    tifffile.imwrite(path, photo, tile=(64, 64), photometric="rgb")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_files_of_an_image(name: str, models: dict[str, predictors.Predictor], tiff: str, photo: np.ndarray) -> None:
    model, stem, advanced = models[name], tiff.removesuffix(".tif"), []
    with model.open(tiff) as source:
        written = tiled_files.predict_and_write(model, source, stem, windows.Tiling(TILE, 0.25), 4, advanced.append)
    assert sum(advanced) == 12
    for found, expected in zip(as_arrays(written.prediction), as_arrays(model(photo)), strict=True):
        np.testing.assert_array_equal(found, expected)
    files = {file.removeprefix("photo_") for file in os.listdir(os.path.dirname(tiff))} - {"photo.tif"}
    assert files == {"deeplab": {"overlay.png", "ids.png", "colors.png"}, "maskrcnn": {"overlay.png"}}[name]


@pytest.mark.parametrize("name", NAMES)
def test_files_of_an_image_that_is_too_large_for_png(
    name: str, models: dict[str, predictors.Predictor], tiff: str, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rasterio = pytest.importorskip("rasterio")
    import json

    model, stem = models[name], tiff.removesuffix(".tif")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1000)
    monkeypatch.setattr(tiled_files, "PREVIEW_SIDE", 150)
    with model.open(tiff) as source:
        assert source.is_windowed
        written = tiled_files.predict_and_write(model, source, stem, windows.Tiling(TILE, 0.25), 4)
    expected = model(photo)
    with PIL.Image.open(f"{stem}_overlay.png") as overlay:
        assert overlay.width == 450  # 150 pixels, enlarged three times so that text is readable.
    if name == "deeplab":
        assert written.prediction is None
        with rasterio.open(f"{stem}_ids.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), expected)
        assert not os.path.exists(f"{stem}_ids.png")
    else:
        with open(f"{stem}_objects.geojson") as file:
            features = json.load(file)["features"]
        assert len(features) == len(expected) == len(written.prediction)
        assert features[0]["properties"]["class"] == model.class_names[expected.classes[0]]


def test_an_error_leaves_no_partial_class_map(
    models: dict[str, predictors.Predictor], tiff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rasterio")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1000)

    def fail(count: int) -> None:
        if len(calls) == 8:
            raise RuntimeError("stopped")
        calls.append(count)

    calls: list[int] = []
    with models["deeplab"].open(tiff) as source, pytest.raises(RuntimeError, match="stopped"):
        tiled_files.predict_and_write(models["deeplab"], source, tiff.removesuffix(".tif"), windows.Tiling(TILE, 0.25), 1, fail)
    assert os.listdir(os.path.dirname(tiff)) == ["photo.tif"]


def test_an_architecture_without_merging_says_so(models: dict[str, predictors.Predictor]) -> None:
    from tpuseg.training.predictions import Predictions

    with pytest.raises(ValueError, match="does not support tiles; predict without them"):
        Predictions.merger(models["deeplab"].task.predictions, windows.Grid((5, 5), windows.Tiling(32)))


def test_an_open_array_is_not_windowed(models: dict[str, predictors.Predictor], photo: np.ndarray) -> None:
    with models["deeplab"].open(photo) as source:
        assert isinstance(source, large_images.ImageSource) and not source.is_windowed and source.size == (230, 300)

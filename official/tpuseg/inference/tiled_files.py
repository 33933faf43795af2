"""Predicting the file of a large image by windows, and writing the prediction as files.

`STEM_overlay.png` is written for every image, reduced to at most `PREVIEW_SIDE` pixels. Class maps are `STEM_ids.png` and
`STEM_colors.png`, as for other images. If the image has a georeference, or more pixels than `image_files.MAX_PIXELS`, a class map
is `STEM_ids.tif` instead, which is written strip by strip, and objects are also written as `STEM_objects.geojson`.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tpuseg.inference import tiled
from tpuseg.inference.predictors import ImagePredictor
from tpuseg.io import geo_files, image_files
from tpuseg.io.large_images import ImageSource
from tpuseg.ops import windows
from tpuseg.training.tile_merging import TileMerger
from tpuseg.visualization import drawing, page

# Longest side of overlays in pixels.
PREVIEW_SIDE = 4096


@dataclasses.dataclass(frozen=True)
class Written:
    """What was predicted and written.

    Attributes:
      prediction: the prediction of the image; None for a class map that was written strip by strip.
      overlay: [H, W, 3] uint8, the content of STEM_overlay.png.
      findings: description of the prediction for the page.
    """

    prediction: Any
    overlay: np.ndarray
    findings: list[page.Finding]


def predict_and_write(
    model: ImagePredictor,
    source: ImageSource,
    stem: str,
    tiling: windows.Tiling,
    batch_size: int,
    on_windows: Callable[[int], object] = lambda count: None,
) -> Written:
    """Predicts an image by windows and writes the files that the module's documentation lists.

    Args:
      model: the model.
      source: the image.
      stem: common beginning of the paths of the files.
      tiling: how to divide the image.
      batch_size: number of windows in a batch.
      on_windows: called with the number of windows that were predicted, after every batch.

    Raises:
      ValueError: the file is damaged.
    """
    predictions = model.task.predictions
    preview = source.preview(PREVIEW_SIDE)
    preview_size = (preview.shape[0], preview.shape[1])
    for_maps = source.georeference is not None or source.size[0] * source.size[1] > image_files.MAX_PIXELS
    with _Strips(f"{stem}_ids.tif", source, preview_size) as strips:

        def advance(count: int, merger: TileMerger) -> None:
            if for_maps:
                strips.write(merger)
            on_windows(count)

        prediction = model.threshold(tiled.predict(model, source, tiling, batch_size, advance))
    if strips.is_written:
        prediction, drawn = None, strips.preview
    else:
        predictions.write_files(prediction, stem)
        drawn = predictions.resize(prediction, preview_size) if preview_size != source.size else prediction
    if for_maps and predictions.detects_objects:
        features = list(predictions.map_features(prediction))
        polygons = [geo_files.trace_mask(feature.mask, feature.top, feature.left) for feature in features]
        path = f"{stem}_objects.geojson"
        geo_files.write_geojson(path, polygons, [feature.properties for feature in features], source.georeference)
    overlay = predictions.draw(drawn, preview)
    drawing.write_png(f"{stem}_overlay.png", overlay)
    return Written(prediction, overlay, predictions.findings(drawn))


class _Strips:
    """A class map that is written strip by strip, and reduced for the overlay; an error in the `with` block removes its file.

    Attributes:
      preview: [h', w'] uint8 class ids of the reduced image.
    """

    def __init__(self, path: str, source: ImageSource, preview_size: tuple[int, int]) -> None:
        self.preview = np.zeros(preview_size, np.uint8)
        self._path = path
        self._source = source
        self._stack = contextlib.ExitStack()
        self._raster: geo_files.ClassRaster | None = None

    def __enter__(self) -> "_Strips":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def is_written(self) -> bool:
        """Whether there was a class map."""
        return self._raster is not None

    def write(self, merger: TileMerger) -> None:
        """Writes the rows that a merger has finished; the file is created with the first ones."""
        for top, rows in merger.take_rows():
            if self._raster is None:
                size, georeference = self._source.size, self._source.georeference
                self._raster = self._stack.enter_context(
                    geo_files.ClassRaster(self._path, size, georeference, drawing.color_map())
                )
            self._raster.write_rows(top, rows)
            self._reduce(top, rows)

    def _reduce(self, top: int, rows: np.ndarray) -> None:
        height, width = (
            windows.nearest_pixels(*pair) for pair in zip(self._source.size, self.preview.shape, strict=True)
        )
        inside = np.flatnonzero((height >= top) & (height < top + len(rows)))
        self.preview[inside] = rows[height[inside] - top][:, width]

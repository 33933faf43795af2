"""The images of the validation losses: whole images, or a window of each at native resolution."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.data import pipeline, records
from tpuseg.maskrcnn import inputs, validation_loss


def first_example(shapes_dir: str, tile: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the first example of the losses, and the image of the first record."""
    override = f"task.model.input_size=[64,64],task.evaluation.tile={tile}"
    config = experiments.load("maskrcnn_shapes", params_override=override).config.task
    example = next(iter(validation_loss.dataset(config, shapes_dir, None, 1).as_numpy_iterator()))
    raw = next(iter(pipeline._raw_records(config.validation_data, shapes_dir)))
    image = records.decode_image(inputs.parse_record(raw)["image"]).numpy()
    return {name: value[0] for name, value in example.items()}, image


def test_a_whole_image_is_reduced_to_the_canvas(shapes_dir: str) -> None:
    example, image = first_example(shapes_dir, tile=0)
    assert image.shape == (128, 160, 3) and example["image_size"].tolist() == [51, 64]


def test_a_window_has_the_resolution_of_the_image(shapes_dir: str) -> None:
    example, image = first_example(shapes_dir, tile=64)
    assert example["image_size"].tolist() == [64, 64]
    crops = np.lib.stride_tricks.sliding_window_view(image.astype(np.int16), (64, 64, 3)).reshape(-1, 64, 64, 3)
    # At the borders of a window, a JPEG's colours are interpolated differently.
    assert np.abs(crops - example["image"]).mean((1, 2, 3)).min() < 1
    assert (example["classes"] >= 0).any()  # The window is around an object.


@pytest.mark.parametrize("tile", [0, 64])
def test_the_number_of_steps_is_that_of_the_images(shapes_dir: str, tile: int) -> None:
    config = experiments.load("maskrcnn_shapes", params_override=f"task.evaluation.tile={tile}").config.task
    assert validation_loss.num_steps(config, shapes_dir, 2) == 5
    assert isinstance(validation_loss.dataset(config, shapes_dir, None, 2), tf.data.Dataset)

"""The program of one TPU core: what its step takes in."""

import pytest
import tensorflow as tf

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.tpu import program

CHANNELS = "task.model.num_channels={0},task.model.pixel_mean={1},task.model.pixel_stddev={1}"


@pytest.mark.parametrize("name", ["deeplab_shapes", "maskrcnn_shapes"])
@pytest.mark.parametrize("mode", program.MODES)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_images_have_the_models_number_of_channels(name, mode, count, tmp_path):
    override = CHANNELS.format(count, str([7.0] * count).replace(" ", "")) if count != 3 else ""
    config = experiments.load(name, params_override=override).config
    described = program._replace_data(config, str(tmp_path), 16)
    task = registry.architectures.get(config.architecture).task_class(
        described.task, logging_dir=str(tmp_path), data_dir=str(tmp_path)
    )
    specs = tf.nest.flatten(program._create_input_specs(task, mode, 8))
    images = [spec for spec in specs if spec.shape.rank == 4 and spec.dtype == tf.uint8 and spec.shape[-1] == count]
    assert images and images[0].shape[0] == 2

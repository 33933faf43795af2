"""Backbones: their size, their strides, and that atrous convolutions only add positions."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg import backbones
from tpuseg.backbones.atrous import StrideBudget
from tpuseg.configs import schema


def build(kind, output_stride=32, **options):
    config = schema.BackboneConfig({"type": kind, kind: options} if options else {"type": kind})
    return backbones.build(schema.NetworkConfig(backbone=config), output_stride)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        # Keras Applications' counts without classifier, less the biases before norms: 23,587,712 - 26,560.
        ("resnet", {"depth": 50}, 23_561_152),
        ("resnet", {"depth": 101}, 42_605_504),
        # 2,257,984 less the last 1x1 to 1280 and its norm: 320 * 1280 + 4 * 1280.
        ("mobilenet_v2", {}, 1_843_264),
    ],
)
def test_number_of_parameters(kind, options, expected):
    backbone = build(kind, **options)
    tf.function(lambda x: backbone(x)).get_concrete_function(tf.TensorSpec([1, 65, 65, 3]))
    assert sum(int(np.prod(variable.shape)) for variable in backbone.variables) == expected


@pytest.mark.parametrize("kind", ["resnet", "mobilenet_v2", "xception65"])
@pytest.mark.parametrize(("output_stride", "expected"), [(32, 3), (16, 5), (8, 9)])
def test_output_stride(kind, output_stride, expected):
    backbone = build(kind, output_stride)
    function = tf.function(lambda x: backbone(x)).get_concrete_function(tf.TensorSpec([1, 65, 65, 3]))
    shapes = function.structured_outputs
    assert shapes["5"].shape[1:3] == (expected, expected)
    assert shapes["low_level"].shape[1:3] == (17, 17)
    assert shapes["2"].shape[1:3] == (17, 17)


@pytest.mark.parametrize("kind", ["resnet", "mobilenet_v2", "xception65"])
def test_atrous_network_keeps_the_values_of_the_strided_one(kind):
    strided, atrous = build(kind, 32), build(kind, 16)
    pixels = tf.constant(np.random.default_rng(0).normal(size=(1, 129, 129, 3)), tf.float32)
    strided(pixels)
    atrous(pixels)
    for target, source in zip(atrous.variables, strided.variables, strict=True):
        assert target.name.partition("/")[2] == source.name.partition("/")[2]
        target.assign(source)
    expected, actual = strided(pixels)["5"], atrous(pixels)["5"]
    # The border of the finer grid sees its own padding; every second position is the strided network's.
    np.testing.assert_allclose(actual[:, ::2, ::2], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_stride_budget_gives_the_dropped_stride_to_the_layers_after():
    budget = StrideBudget(output_stride=8, stride=4)
    assert budget.spend(2) == (2, 1)  # Stride 8 is reached.
    assert budget.spend(2) == (1, 1)  # The layer itself still sees a dense input.
    assert budget.spend(1) == (1, 2)
    assert budget.spend(2) == (1, 2)
    assert budget.spend(1) == (1, 4)


def test_multi_grid_changes_only_the_last_stage():
    plain, grid = build("resnet", 16), build("resnet", 16, multi_grid=[1, 2, 4])
    rates = [block.spatial.conv.dilation_rate[0] for block in grid.stages[3]]
    assert rates == [1, 4, 8]
    assert [block.spatial.conv.dilation_rate for block in plain.stages[2]] == [
        block.spatial.conv.dilation_rate for block in grid.stages[2]
    ]


def test_beta_stem_has_three_3x3_convolutions():
    backbone = build("resnet", stem="beta")
    assert [layer.conv.kernel_size for layer in backbone.stem] == [(3, 3)] * 3
    assert [layer.conv.strides[0] for layer in backbone.stem] == [2, 1, 1]


def test_initial_kernels_differ_between_layers():
    backbone = build("mobilenet_v2")
    backbone(tf.zeros([1, 33, 33, 3]))
    first, second = (backbone.blocks[index].expand.conv.kernel for index in (1, 2))
    assert first.shape != second.shape or not np.allclose(first, second)
    third, fourth = (backbone.blocks[index].expand.conv.kernel for index in (4, 5))
    assert not np.allclose(third, fourth)

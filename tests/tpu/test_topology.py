"""Types of TPU by their names."""

import pytest

from tpuseg.tpu import topology


@pytest.mark.parametrize(
    ("name", "described", "chips", "replicas"),
    [
        ("v2-8", "v2:2x2x1", 4, 8),
        ("v3-8", "v3:2x2x1", 4, 8),
        ("v3-32", "v3:4x4x1", 16, 32),
        ("v3-128", "v3:8x8x1", 64, 128),
        ("v4-8", "v4:2x2x1", 4, 4),
        ("v4-32", "v4:2x2x4", 16, 16),
        ("v4-128", "v4:4x4x4", 64, 64),
        ("v5litepod-8", "v5e:2x4", 8, 8),
        ("v5e-256", "v5e:16x16", 256, 256),
        ("v5p-8", "v5p:2x2x1", 4, 4),
        ("v6e-1", "v6e:1x1", 1, 1),
    ],
)
def test_a_name_means_chips_and_replicas(name, described, chips, replicas):
    tpu = topology.parse(name)
    assert (tpu.described, tpu.num_chips, tpu.num_replicas) == (described, chips, replicas)


@pytest.mark.parametrize(("name", "expected"), [("v3-9", "v3-8, v3-32"), ("v9-8", "v2, v3, v4"), ("tpu", "v3-8")])
def test_other_names_are_answered_with_those_there_are(name, expected):
    with pytest.raises(ValueError, match=expected) as error:
        topology.parse(name)
    assert f"--tpu_type={name}" in str(error.value)


def test_clock_and_peak_belong_together():
    # A matrix unit makes 128 x 128 multiplications and additions a cycle (v6e: 256 x 256): units on a chip.
    units = {"v2": 2, "v3": 4, "v4": 8, "v5e": 4, "v5p": 8, "v6e": 4}
    for name, count in units.items():
        chip = topology.CHIPS[name]
        width = 256 if name == "v6e" else 128
        assert 2 * width**2 * count * chip.clock == pytest.approx(chip.peak_flops, rel=0.01), name


def test_only_whole_rows_close_to_rings():
    assert topology.parse("v3-8").num_links == 2
    assert topology.parse("v3-2048").num_links == 4
    assert topology.parse("v4-128").num_links == 6


@pytest.mark.parametrize(
    ("name", "hosts", "cores"),
    [("v3-8", 1, 96), ("v3-32", 4, 96), ("v5e-8", 1, 224), ("v5e-16", 4, 112), ("v5e-1", 1, 24), ("v4-32", 4, 240)],
)
def test_hosts_hold_four_chips_or_all(name, hosts, cores):
    tpu = topology.parse(name)
    assert (tpu.num_hosts, tpu.host_cores) == (hosts, cores)

"""Reading the compiler's program: literal lines with costs that were worked out by hand."""

import pytest

from tpuseg.tpu import hlo, layers, topology

V3 = topology.parse("v3-8")

PROGRAM = """HloModule m

%cond (p: (s32[], f32[8,128])) -> pred[] {
  %p = (s32[]{:T(256)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(256)} get-tuple-element(%p), index=0
  %limit = s32[]{:T(256)} constant(5)
  ROOT %less = pred[]{:T(256)} compare(%i, %limit), direction=LT
}

%open_cond (p.1: (s32[], pred[])) -> pred[] {
  %p.1 = (s32[]{:T(256)}, pred[]{:T(256)}) parameter(0)
  %i.1 = s32[]{:T(256)} get-tuple-element(%p.1), index=0
  %go = pred[]{:T(256)} get-tuple-element(%p.1), index=1
  %limit.1 = s32[]{:T(256)} constant(7)
  %less.1 = pred[]{:T(256)} compare(%i.1, %limit.1), direction=LT
  ROOT %both = pred[]{:T(256)} and(%less.1, %go)
}

%body (q: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %q = (s32[]{:T(256)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%q), index=1
  %work = f32[8,128]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%inner, metadata={op_name="model/conv/Relu"}, \
backend_config={"window_config":{"estimated_cycles":"100"}}
  ROOT %t = (s32[]{:T(256)}, f32[8,128]{1,0:T(8,128)}) tuple(%x, %work)
}

%open_body (r: (s32[], pred[])) -> (s32[], pred[]) {
  %r = (s32[]{:T(256)}, pred[]{:T(256)}) parameter(0)
  ROOT %step = (s32[]{:T(256)}, pred[]{:T(256)}) fusion(%r), kind=kLoop, calls=%inner.2, \
backend_config={"window_config":{"estimated_cycles":"10"}}
}

ENTRY %main (a: f32[100,100]) -> f32[100,100] {
  %a = f32[100,100]{1,0:T(8,128)} parameter(0), metadata={op_name="XLA_Args"}
  %sorted = f32[100,100]{1,0:T(8,128)} sort(%a), dimensions={1}, metadata={op_name="sort/TopKV2"}
  %near = f32[100,100]{1,0:T(8,128)S(1)} copy(%sorted)
  %fetched = ((f32[100,100]{1,0:T(8,128)}), f32[16,100]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:16], [0:100]}
  %stored = (f32[100,100]{1,0:T(8,128)}, f32[100,100]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%near)
  %summed = f32[100,100]{1,0:T(8,128)} all-reduce(%near), replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %known = (s32[], f32[8,128]{1,0:T(8,128)}) while(%init), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %counted = (s32[], f32[8,128]{1,0:T(8,128)}) while(%init), condition=%cond, body=%body
  %open = (s32[], pred[]) while(%init.2), condition=%open_cond, body=%open_body, metadata={op_name="nms/while"}
  ROOT %out = f32[100,100]{1,0:T(8,128)} bitcast(%summed)
}
"""
# [100, 100] float32 lies in memory as 104 rows of 128.
TILED = 104 * 128 * 4


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("f32[100,100]{1,0:T(8,128)}", TILED),
        ("bf16[8,100]{1,0:T(8,128)(2,1)}", 8 * 128 * 2),
        ("f32[100,8]{0,1:T(8,128)}", 128 * 8 * 4),  # The rows are the minor dimension.
        ("f32[3,5]", 60),
        ("(s32[4]{0}, pred[6]{0})", 22),
        ("f32[]{:T(256)}", 4),
    ],
)
def test_bytes_of_a_shape(shape, expected):
    assert hlo.array_bytes(shape) == expected


def test_the_cores_own_memory_is_not_hbm():
    assert hlo.array_bytes("f32[8,128]{1,0:T(8,128)S(1)}", in_hbm=True) == 0
    assert hlo.array_bytes("f32[8,128]{1,0:T(8,128)S(1)}") == 4096


def cycles(estimate):
    return {(row.name, row.loop): row for row in estimate.operations}


def test_every_operation_costs_something():
    found = cycles(hlo.estimate(PROGRAM, V3))
    # 450 GB/s and 940 MHz a core; read once and written once.
    assert found["sorted", ""].cycles == pytest.approx(2 * TILED / 450e9 * 940e6)
    assert found["sorted", ""].counted_by == "bytes"
    # Only its reading goes through HBM.
    assert found["near", ""].moved_bytes == TILED
    # What runs beside other work is counted too: the part that is fetched, not all that it is fetched from; what is stored, once.
    assert found["fetched", ""].moved_bytes == 16 * 128 * 4
    assert found["stored", ""].moved_bytes == TILED
    assert found["work", "known"].cycles == 300 and found["work", "known"].counted_by == "compiler"
    assert not {"a", "out", "x", "t"} & {name for name, _ in found}


def test_loops_count_their_rounds():
    loops = {loop.name: loop for loop in hlo.estimate(PROGRAM, V3).loops}
    assert (loops["known"].trips, loops["known"].known_by) == (3, "compiler")
    assert (loops["counted"].trips, loops["counted"].known_by) == (5, "condition")
    assert (loops["open"].trips, loops["open"].known_by) == (7, "bound")
    given = {loop.name: loop for loop in hlo.estimate(PROGRAM, V3, loop_trips=2).loops}
    assert (given["open"].trips, given["open"].known_by) == (2, "given")
    assert given["counted"].trips == 5


def test_a_sum_over_replicas_takes_the_wires():
    # 2 x 2 chips: each sends 1.5 times the array over two cables of 82 GB/s; through HBM in and out; 4 hops of 1 us.
    expected = 2 * 4e6 / 450e9 + 1.5 * 4e6 / (2 * 82e9) + 4e-6
    assert hlo.all_reduce_seconds(4_000_000, V3) == pytest.approx(expected)
    assert hlo.all_reduce_seconds(4_000_000, topology.parse("v5e-1")) == 0
    row = cycles(hlo.estimate(PROGRAM.replace("S(1)", ""), V3))["summed", ""]
    assert row.counted_by == "wires" and row.cycles == pytest.approx(hlo.all_reduce_seconds(TILED, V3) * 940e6)


@pytest.mark.parametrize(
    ("name", "opcode", "expected"),
    [
        ("model/resnet/conv1/Conv2D", "fusion", ("model/resnet/conv1", "forward")),
        ("gradient_tape/model/resnet/conv1/Conv2D/Conv2DBackpropInput", "fusion", ("model/resnet/conv1", "backward")),
        ("model/bn/batchnorm/add_1", "fusion", ("model/bn", "forward")),
        ("model/while_1/einsum/Einsum", "fusion", ("model/while", "forward")),
        ("SGD/SGD/update/mul", "fusion", ("SGD", "update")),
        ("SGD/XlaAllReduce_7", "all-reduce", (layers.SUMS, "sums")),
        ("SparseSoftmaxCrossEntropyWithLogits/Reshape", "fusion", ("SparseSoftmaxCrossEntropyWithLogits", "forward")),
        ("", "copy", ("the compiler's own", "forward")),
    ],
)
def test_layers_have_the_models_names(name, opcode, expected):
    assert layers.layer_of(name, opcode) == expected


def test_layers_add_up():
    estimate = hlo.estimate(PROGRAM, V3)
    rows = layers.by_layer(estimate.operations)
    assert sum(row.cycles for row in rows) == pytest.approx(estimate.cycles)
    assert ("model/conv", "forward", 800) in [(row.name, row.direction, row.cycles) for row in rows]


INDEXED = """HloModule m

%inner (t: bf16[100000,256], i: s32[64]) -> bf16[64,256] {
  %t = bf16[100000,256]{1,0:T(8,128)(2,1)} parameter(0)
  %i = s32[64]{0:T(256)} parameter(1)
  ROOT %read = bf16[64,256]{1,0:T(8,128)(2,1)} gather(%t, %i), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={1,256}
}

%adding (s: bf16[100000,256], j: s32[64], u: bf16[64,256]) -> bf16[100000,256] {
  %s = bf16[100000,256]{1,0:T(8,128)(2,1)} parameter(0)
  %j = s32[64]{0:T(256)} parameter(1)
  %u = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(2)
  ROOT %added = bf16[100000,256]{1,0:T(8,128)(2,1)} scatter(%s, %j, %u), update_window_dims={1}, inserted_window_dims={0}, \
scatter_dims_to_operand_dims={0}, index_vector_dim=1, to_apply=%add
}

ENTRY %main (a: bf16[100000,256], b: s32[64], c: bf16[12500,8,256], d: f32[64,128]) -> bf16[100000,256] {
  %a = bf16[100000,256]{1,0:T(8,128)(2,1)} parameter(0)
  %b = s32[64]{0:T(256)} parameter(1)
  %c = bf16[12500,8,256]{2,1,0:T(8,128)(2,1)} parameter(2)
  %d = f32[64,128]{1,0:T(8,128)} parameter(3)
  %rows = bf16[64,256]{1,0:T(8,128)(2,1)} fusion(%a, %b), kind=kCustom, calls=%inner, metadata={op_name="cells/GatherV2"}
  %tiles = bf16[64,8,256]{2,1,0:T(8,128)(2,1)} gather(%c, %b), offset_dims={1,2}, collapsed_slice_dims={0}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={1,8,256}
  %small = f32[64,128]{1,0:T(8,128)} gather(%d, %b), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={1,128}
  ROOT %sum = bf16[100000,256]{1,0:T(8,128)(2,1)} fusion(%a, %b, %rows), kind=kCustom, calls=%adding
}
""".replace("\\\n", "")
INDICES = 256 * 4  # Filled up to a tile.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Each row comes with the seven others of its tile; what was read is written as it is.
        ("rows", INDICES + 64 * 8 * 256 * 2 + 64 * 256 * 2),
        # Whole tiles, and nothing else.
        ("tiles", INDICES + 2 * 64 * 8 * 256 * 2),
        # A table that the core's own memory holds is read once.
        ("small", INDICES + 2 * 64 * 128 * 4),
        # The tiles that change are read and written, the updates read.
        ("sum", INDICES + 2 * 64 * 8 * 256 * 2 + 64 * 256 * 2),
    ],
)
def test_what_is_read_by_its_number_moves_whole_tiles(name, expected):
    assert cycles(hlo.estimate(INDEXED, V3))[name, ""].moved_bytes == expected

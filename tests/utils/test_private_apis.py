"""Each private entry of other libraries, also where it is missing; and that no other module uses one."""

import ast
import importlib
import logging
import random

import numpy as np
import orbit
import pytest
import tensorflow as tf
import tf_keras
from official.modeling import optimization
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tpuseg.evaluation import matching
from tpuseg.utils import private_apis

XLA_OPS = "tensorflow.compiler.tf2xla.ops.gen_xla_ops"
# Private modules of the libraries, by the beginning of their names.
PRIVATE_MODULES = (
    *("tensorflow.python", "tensorflow.core", "tensorflow.compiler", "tensorflow.dtensor", "tensorflow.lite.python"),
    *("tf_keras.src", "keras.src", "jax._src", "jaxlib._", "pycocotools._"),
)
# Attributes with an underscore that are documented.
PUBLIC = {"_asdict", "_replace", "_fields", "_exit"}
OUTSIDE = ("utils/private_apis.py", "tpu/libtpu_process.py")


@pytest.fixture
def missing(monkeypatch):
    """Returns a function that takes a name out of a module or class for the rest of the test."""

    def remove(owner, name):
        monkeypatch.delattr(importlib.import_module(owner) if isinstance(owner, str) else owner, name)

    return remove


def message(package):
    return f"^{package} .* has no `.*`, which tpuseg needs; tested with {package} {private_apis.TESTED_VERSIONS[package]}"


def is_xla(jit_compile):
    found = []
    tf.function(lambda x: found.append(private_apis.is_in_xla_context()) or x, jit_compile=jit_compile)(tf.constant(1.0))
    return found


def test_is_in_xla_context(missing):
    assert is_xla(True) == [True] and is_xla(False) == [False]
    missing("tensorflow.python.ops.control_flow_util", "GraphOrParentsInXlaContext")
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
        private_apis.is_in_xla_context()


@pytest.mark.parametrize("is_missing", [False, True])
def test_xla_sort(is_missing, missing):
    if is_missing:
        missing(XLA_OPS, "xla_sort")
    found = tf.function(private_apis.xla_sort, jit_compile=True)(tf.constant([[3, 1, 2], [9, 8, 7]]))
    np.testing.assert_array_equal(found, [[1, 2, 3], [7, 8, 9]])


def test_freeze_variables(missing):
    weight = tf.Variable(3.0)
    function = tf.function(lambda x: x * weight).get_concrete_function(tf.TensorSpec([]))
    frozen = private_apis.freeze_variables(function)
    weight.assign(5.0)
    assert float(frozen(tf.constant(2.0))[0]) == 6.0
    missing("tensorflow.python.framework.convert_to_constants", "convert_variables_to_constants_v2")
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
        private_apis.freeze_variables(function)


def test_object_graph(tmp_path, missing):
    path = tf.train.Checkpoint(rate=tf.Variable(1.0, name="learning_rate")).write(str(tmp_path / "ckpt"))
    serialized = tf.train.load_checkpoint(path).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    names = {attribute.full_name for node in private_apis.object_graph(serialized).nodes for attribute in node.attributes}
    assert "learning_rate" in names
    missing(trackable_object_graph_pb2, "TrackableObjectGraph")
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
        private_apis.object_graph(serialized)


def test_programs_for_xla(missing):
    function = tf.function(lambda x: x + 1.0, jit_compile=True).get_concrete_function(tf.TensorSpec([2]))
    module = private_apis.hlo_module(private_apis.lower_for_xla(function))
    (row,) = (row for part in module.computations for row in part.instructions if row.opcode == "parameter")
    assert row.shape.element_type == private_apis.hlo_float32() and list(row.shape.dimensions) == [2]
    assert private_apis.hlo_instruction(opcode="add", id=3).id == 3
    assert private_apis.has_kernel("MatMul", "XLA_CPU_JIT") and not private_apis.has_kernel("StringLength", "XLA_CPU_JIT")
    missing("tensorflow.python.eager.polymorphic_function.compiler_ir", "from_concrete_function")
    missing("tensorflow.python.framework.kernels", "get_registered_kernels_for_op")
    for call in (lambda: private_apis.lower_for_xla(function), lambda: private_apis.has_kernel("MatMul", "XLA_CPU_JIT")):
        with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
            call()


def test_function_in_graph():
    inner = tf.function(lambda x: x + 1.0)
    graph = tf.function(lambda x: inner(x)).get_concrete_function(tf.TensorSpec([])).graph
    (name,) = (op.get_attr("f").name for op in graph.get_operations() if "Call" in op.type)
    assert private_apis.function_in_graph(graph, name) is not None
    assert private_apis.function_in_graph(graph, "no_such_function") is None
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
        private_apis.function_in_graph(object(), name)


def test_described_replicas(missing):
    strategy = private_apis.described_replicas(4)
    assert strategy.num_replicas_in_sync == 4 and private_apis.described_replicas(2).num_replicas_in_sync == 2
    assert float(private_apis.xla_all_reduce(tf.constant(3.0), 1)) == 3.0
    missing(XLA_OPS, "xla_all_reduce")
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tensorflow")):
        private_apis.xla_all_reduce(tf.constant(3.0), 2)


def test_mirrored_strategies_have_collectives_of_their_own(monkeypatch):
    devices = ["/cpu:0", "/cpu:1"]
    first, second = (private_apis.mirrored_strategy(devices) for _ in range(2))
    assert type(first)._collective_key_base != type(second)._collective_key_base
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: ("a strategy without numbers", devices))
    assert private_apis.mirrored_strategy(devices) == ("a strategy without numbers", devices)


def drawn():
    """Random numbers of all libraries."""
    of_keras = tf_keras.initializers.RandomUniform()([2]).numpy().tolist()
    return random.random(), np.random.rand(), float(tf.random.uniform([])), of_keras


def test_random_states_are_kept():
    tf_keras.utils.set_random_seed(5)
    expected = drawn()
    tf_keras.utils.set_random_seed(5)
    with private_apis.kept_random_state():
        tf_keras.utils.set_random_seed(7)
        assert all(np.any(np.array(found) != wanted) for found, wanted in zip(drawn(), expected, strict=True))
    assert drawn() == expected


def test_random_states_without_the_private_entries(missing):
    missing("tensorflow.python.eager.context", "global_seed")
    missing("tf_keras.src.backend", "_SEED_GENERATOR")
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with private_apis.kept_random_state():
        random.seed(7)
    assert random.random() == expected


def test_create_optimizer_variables():
    optimizer = tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    private_apis.create_optimizer_variables(optimizer, [tf.Variable([1.0, 2.0])])
    assert len(optimizer.variables()) == 2  # The step count and a momentum.
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tf_keras")):
        private_apis.create_optimizer_variables(object(), [])


def test_averaged_weights(missing):
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    average = optimization.ExponentialMovingAverage(tf_keras.optimizers.legacy.SGD(0.1))
    average.shadow_copy(model)
    pairs = private_apis.averaged_weights(average)
    assert [weight.name for weight, _ in pairs] == [variable.name for variable in model.trainable_variables]
    assert all(weight.shape == mean.shape and "average" in mean.name for weight, mean in pairs)
    missing(average, "_average_weights")
    with pytest.raises(private_apis.UnsupportedVersionError, match=message("tf-models-official")):
        private_apis.averaged_weights(average)


def test_orbit_is_silent_inside_the_block(missing, capsys):
    printing = orbit.controller._log
    with pytest.raises(KeyError), private_apis.without_orbit_messages():
        orbit.controller._log("inside")
        raise KeyError
    assert orbit.controller._log is printing and capsys.readouterr().out == ""
    missing(orbit.controller, "_log")
    with private_apis.without_orbit_messages():
        pass
    assert not hasattr(orbit.controller, "_log")


def coco_evaluation():
    """A `COCOeval` of two images with an object and two detections each."""
    from pycocotools.coco import COCO

    truth, found = COCO(), COCO()
    annotations = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0} for number in (1, 2)
    ]
    truth.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": annotations}
    detections = [
        {**row, "id": 10 * row["id"] + place, "bbox": [0, 0, 10, side], "area": 10 * side, "score": score}
        for row in annotations
        for place, (side, score) in enumerate([(6, 0.9), (9, 0.4)])
    ]
    found.dataset = {**truth.dataset, "annotations": detections}
    truth.createIndex()
    found.createIndex()
    return matching.SparseCocoEval(truth, found, "bbox")


def test_pycocotools_groups(monkeypatch):
    evaluation = coco_evaluation()
    objects, detections = private_apis.grouped_annotations(evaluation)
    assert [row["id"] for row in objects[1, 1]] == [1] and [row["id"] for row in detections[2, 1]] == [20, 21]
    private_apis.keep_parameters(evaluation)
    assert evaluation._paramsEval is evaluation.params
    expected = coco_evaluation().run()
    assert 0 < expected[0] < 1
    # Without the private entries, pycocotools' own loop gives the same metrics.
    assert private_apis.grouped_annotations(object()) is None
    monkeypatch.setattr(private_apis, "grouped_annotations", lambda evaluation: None)
    np.testing.assert_array_equal(coco_evaluation().run(), expected)


def private_entries(source):
    """Returns the private entries of other libraries that a module uses."""
    tree = ast.parse(source)
    own = {
        *(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)),
        *(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)),
        *(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)),
    }
    found = []
    for node in ast.walk(tree):
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [name for name in imported if f"{name}.".startswith(PRIVATE_MODULES)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PRIVATE_MODULES):
            found.append(node.value)
        if isinstance(node, ast.Attribute):
            # A foreign object's, or of `self` where this module does not define it.
            is_private = node.attr.startswith("_") and not node.attr.startswith("__")
            is_own = node.attr in own | PUBLIC and not (isinstance(node.ctx, ast.Store) and not is_self(node.value))
            if (is_private and not is_own) or node.attr == "__internal__":
                found.append(ast.unparse(node))
    return found


def is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_no_other_module_has_private_entries(repository):
    package = repository / "official" / "tpuseg"
    found = {
        name: entries
        for path in sorted(package.rglob("*.py"))
        if (name := path.relative_to(package).as_posix()) not in OUTSIDE and (entries := private_entries(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tensorflow.python.ops import control_flow_util",
        "def late():\n    import jax._src.compiler",
        "from tf_keras.src import backend",
        "importlib.import_module('tensorflow.compiler.xla')",
        "optimizer._create_all_weights([])",
        "orbit.controller._log = print",
        "class Evaluation(COCOeval):\n    def run(self):\n        self._prepare()",
        "tf.__internal__.tracking",
    ],
)
def test_planted_private_entries_are_found(line):
    assert private_entries(f"import importlib\n{line}\n") != []


def test_own_private_names_are_allowed():
    source = "class A:\n    def __init__(self):\n        self._x = 1\n    def get(self):\n        return self._x, row._asdict()\n"
    assert private_entries(source) == []


def test_an_entry_in_a_traced_function_is_no_warning():
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        tf.function(lambda: tf.constant(private_apis.is_in_xla_context())).get_concrete_function()
    finally:
        tf.get_logger().removeHandler(handler)
    assert said == []

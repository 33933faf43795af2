"""Every rule with numbers that were computed by hand."""

import numpy as np
import pytest

from tpuseg.configs import experiments
from tpuseg.maskrcnn.config import AnchorConfig, DetectionConfig, MaskRcnnConfig, ModelConfig, RpnConfig
from tpuseg.planning import anchor_recall, rules

CPU, GPU, TPU = rules.Device("cpu", "cpu"), rules.Device("gpu", "gpu"), rules.Device("v3-8", "tpu", num_replicas=8)
BASE_ANCHORS = AnchorConfig(sizes=[12.0, 24.0, 48.0, 96.0, 192.0])


def values(choices):
    return {choice.path.removeprefix("task."): choice.value for choice in choices}


def boxes(*sides):
    """Boxes of given heights and widths, with their first corner at 0."""
    return np.array([[0, 0, *side] for side in sides], np.float64).reshape(-1, 4)


def canvas(sides, image, longest=512, base=256):
    sizes = np.array([image])
    return rules.instance_canvas(boxes(*sides), sizes, np.repeat(sizes, len(sides), axis=0), base, longest)


def test_experiment_by_device():
    def usual(kind, device):
        return rules.levels(kind)[rules.usual_level(device)].experiment

    assert [usual("instances", device) for device in (CPU, GPU, TPU)] == [
        "maskrcnn_custom_small", "maskrcnn_custom", "maskrcnn_custom_r50"
    ]
    assert [usual("semantic", device) for device in (CPU, GPU, TPU)] == ["deeplab_custom", "deeplab_custom", "deeplab_custom_r50"]


def test_number_of_classes_and_channels():
    choice, = rules.num_classes(list("abcdefg"))
    assert (choice.path, choice.value, choice.reason) == ("task.model.num_classes", 7, "a, b, c, d, e and 2 more")
    assert rules.num_channels(3) == [] and values(rules.num_channels(4)) == {"model.num_channels": 4}


def test_canvas_of_square_images_with_large_objects_stays():
    # 100 of 1000 pixels are 25.6 of 256.
    assert canvas([(100, 100)], (1000, 1000)) == []


def test_canvas_grows_for_small_objects():
    # 20 of 1000 pixels are 5.12 of 256; 12 need 600, which is 640 in multiples of 64.
    choice, = canvas([(20, 20)], (1000, 1000), 1024)
    assert choice.value == [640, 640] and choice.reason == "a tenth of the objects are smaller than 13 pixels here, and 5 at 256"
    assert canvas([(20, 20)], (1000, 1000))[0].value == [512, 512]
    # More pixels than the images have would show nothing new: 300 is 320.
    assert canvas([(6, 6)], (300, 300), 1024)[0].value == [320, 320]
    assert canvas([(6, 6)], (200, 200), 1024) == []


def test_canvas_has_the_form_of_the_images():
    choice, = canvas([(100, 100)], (480, 640))
    assert choice.value == [192, 256] and "0.75 to 0.75" in choice.reason
    assert canvas([(100, 100)], (640, 480))[0].value == [256, 192]
    assert canvas([], (480, 640))[0].value == [192, 256]
    # One image of forty may be smaller on the canvas than it could be, four may not.
    for upright, expected in ((1, [192, 256]), (4, None)):
        sizes = np.array([[480, 640]] * (40 - upright) + [[640, 480]] * upright)
        found = values(rules.instance_canvas(boxes(), sizes, sizes[:0], 256, 512))
        assert found.get("model.input_size") == expected
    # Images of both forms need the square.
    sizes = np.array([[480, 640], [640, 480]])
    assert rules.instance_canvas(boxes((200, 200), (200, 200)), sizes, sizes, 256, 512) == []


def test_boxes_on_the_canvas():
    # The factors are min(256 / 512, 256 / 1024) = 0.25 and min(256 / 128, 256 / 128) = 2.
    placed = anchor_recall.on_canvas(boxes((40, 80), (10, 10)), np.array([[512, 1024], [128, 128]]), (256, 256))
    assert placed.tolist() == [[0, 0, 10, 20], [0, 0, 20, 20]]


def test_best_iou():
    config = AnchorConfig(sizes=[8.0, 16.0, 32.0, 64.0, 128.0], aspect_ratios=[1.0])
    # An anchor itself; one shifted by half a stride of 4 in both axes: 6 * 6 / (64 + 64 - 36); one of half the height.
    given = np.array([[4.0, 4, 12, 12], [6, 6, 14, 14], [6, 4, 10, 12]])
    assert anchor_recall.best_iou(given, (64, 64), config) == pytest.approx([1, 36 / 92, 0.5])
    assert anchor_recall.recall(given, (64, 64), config, 0.5) == pytest.approx(2 / 3)
    # The last centre of P2 on a canvas of 16 pixels is 12, not 16: 4 * 4 / (64 + 64 - 16).
    assert anchor_recall.best_iou(np.array([[12.0, 12, 20, 20]]), (16, 16), config) == pytest.approx([16 / 112])


def test_anchors_that_fit_stay():
    assert rules.anchors(np.array([[52.0, 52, 76, 76], [40, 40, 88, 88], [16, 16, 112, 112]]), (256, 256), BASE_ANCHORS) == []
    assert rules.anchors(boxes(), (256, 256), BASE_ANCHORS) == []


def test_anchor_sizes_follow_the_objects():
    # Objects of 5 and 6 pixels around cells of P2; the smallest anchor of 12 has an IoU of 36 / 144 with them.
    given = np.array([[8 * n - half, 8 * n - half, 8 * n + half, 8 * n + half] for n in range(2, 20) for half in (2.5, 3.0)])
    choice, = rules.anchors(given, (256, 256), BASE_ANCHORS)
    # Five sizes a third of an octave apart: 5, 6.3, 7.9, 10, 12.6.
    assert choice.path == "task.model.rpn.anchors.sizes" and choice.value == [5.0, 6.0, 8.0, 10.0, 13.0]
    assert "100% of the objects have an anchor with IoU 0.5 (before 0%), 100% with 0.7 (before 0%)" in choice.reason


def test_aspect_ratios_follow_the_objects():
    # Objects of 8 x 72 pixels: the square root of the area is 24, but a ratio of 0.5 gives them an IoU of 8 / 17 at most.
    given = np.array([[8.0 * n - 4, 92, 8 * n + 4, 164] for n in range(2, 20)])
    found = values(rules.anchors(given, (256, 256), BASE_ANCHORS))
    assert found["model.rpn.anchors.aspect_ratios"] == [0.11]


@pytest.mark.parametrize(
    ("sizes", "ratios", "both", "changed"),
    [
        ((0.84, 0.34), (0.84, 0.34), (0.84, 0.34), set()),
        ((0.86, 0.30), (0.80, 0.30), (0.86, 0.34), {"sizes"}),
        # More with an IoU of 0.7, but fewer with 0.5.
        ((0.74, 0.60), (0.80, 0.36), (0.74, 0.60), {"aspect_ratios"}),
        ((0.86, 0.30), (0.88, 0.30), (0.92, 0.40), {"sizes", "aspect_ratios"}),
    ],
)
def test_anchors_change_for_a_clear_gain(monkeypatch, sizes, ratios, both, changed):
    recalls = iter([(0.80, 0.30), sizes, ratios, both])
    monkeypatch.setattr(rules, "_recalls", lambda *arguments: next(recalls))
    choices = rules.anchors(boxes((10, 30)), (256, 256), BASE_ANCHORS)
    assert {choice.path.split(".")[-1] for choice in choices} == changed


def test_caps_of_the_fullest_image():
    base = MaskRcnnConfig(model=ModelConfig(rpn=RpnConfig(num_candidates_train=300), detection=DetectionConfig()))
    assert rules.most_instances([3, 100], 0, base) == []
    choices = rules.most_instances([3, 329], 12, base)
    found = values(choices)
    assert found["train_data.max_instances"] == 336 and found["model.detection.max_detections"] == 400
    assert found["model.rpn.num_candidates_train"] == 1600 and found["train_data.max_crowds"] == 12
    reasons = {choice.path: choice.reason for choice in choices}
    assert reasons["task.train_data.max_instances"] == "the fullest image has 329 instances"
    assert reasons["task.train_data.max_crowds"] == "an image has 12 ignored regions"


def test_small_objects_are_not_reduced():
    # 10 pixels at scale 0.8 are 8; 20 at 0.5 are 10; 4 are never reduced.
    assert values(rules.instance_scales(boxes((10, 10)), 0.5)) == {"train_data.scale_min": 0.8}
    assert rules.instance_scales(boxes((20, 20)), 0.5) == [] and rules.instance_scales(boxes(), 0.5) == []
    assert values(rules.instance_scales(boxes((4, 4)), 0.5)) == {"train_data.scale_min": 1.0}


def test_canvas_and_crop_of_pixels():
    found = values(rules.semantic_canvas(np.array([[360, 480]]), (0.6, 1.4), 360 * 480))
    # 0.75 * 360 = 270 is 272 in multiples of 16, and 0.75 * 480 = 360 is 368.
    assert found == {"evaluation.input_size": [360, 480], "model.input_size": [272, 368]}
    assert values(rules.semantic_canvas(np.array([[100, 150]]), (0.6, 1.4), 360 * 480))["model.input_size"] == [112, 160]


def test_large_images_are_reduced_in_training_as_in_evaluation():
    # 720 * 960 are four times 360 * 480, so sides are halved.
    found = values(rules.semantic_canvas(np.array([[720, 960]]), (0.6, 1.4), 360 * 480))
    assert found["evaluation.input_size"] == [360, 480] and found["model.input_size"] == [272, 368]
    assert (found["train_data.scale_min"], found["train_data.scale_max"]) == (0.3, 0.7)
    assert values(rules.semantic_canvas(np.array([[720, 960]]), (0.6, 1.4), 768 * 1024))["evaluation.input_size"] == [720, 960]


def test_class_weights():
    names = ["background", "road", "pole", "none"]
    assert rules.class_weights([1000, 500, 100, 0], names) == []
    choice, = rules.class_weights([1600, 400, 64, 0], names)
    # The median is 400: sqrt(400 / 1600), sqrt(400 / 400), sqrt(400 / 64).
    assert choice.value == [0.5, 1.0, 2.5, 1.0] and choice.reason == "background has 25 times as many pixels as pole"
    assert rules.class_weights([10**6, 400, 1, 0], names)[0].value == [0.5, 1.0, 4.0, 1.0]
    assert rules.class_weights([400, 0, 0, 0], names) == []


def test_batch_and_learning_rate():
    assert rules.batch(4, 4, 0.0003, CPU) == []
    # Half the batch: 0.0004 / sqrt(2).
    assert [choice.value for choice in rules.batch(3, 4, 0.0004, CPU)] == [2, 0.000283]
    assert rules.batch(1, 8, 0.001, GPU)[0].value == 1


def test_batch_of_a_tpu():
    found = values(rules.batch(300, 4, 0.0001, TPU))
    # Eight images for each of eight replicas: 0.0001 * sqrt(16).
    assert found["train_data.global_batch_size"] == found["validation_data.global_batch_size"] == 64
    assert found["trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"] == 0.0004
    assert values(rules.batch(40, 4, 0.0001, TPU))["train_data.global_batch_size"] == 32
    assert values(rules.batch(8, 4, 0.0001, TPU))["train_data.global_batch_size"] == 8
    with pytest.raises(ValueError, match="--device=v3-8 has 8 replicas, and there are 7 images to train on; choose a smaller TPU"):
        rules.batch(7, 4, 0.0001, TPU)


def test_precision():
    assert rules.precision(CPU) == rules.precision(GPU) == []
    assert values(rules.precision(TPU)) == {"runtime.mixed_precision_dtype": "bfloat16"}


def test_norm_is_frozen_for_small_batches():
    assert rules.norm(4) == [] and values(rules.norm(2)) == {"model.norm.mode": "frozen"}


def test_steps():
    base = experiments.load("maskrcnn_custom_small").config  # 1500 steps of 4 images, 100 of warm-up.
    assert rules.steps(40, base, 4, CPU) == rules.steps(300, base, 2, CPU) == []
    found = values(rules.steps(600, base, 4, CPU))
    assert found["trainer.train_steps"] == 3000 and found["trainer.validation_interval"] == 500
    assert found["trainer.optimizer_config.learning_rate.polynomial.decay_steps"] == 3000
    assert "trainer.optimizer_config.warmup.linear.warmup_steps" not in found
    assert values(rules.steps(10**6, base, 4, CPU))["trainer.train_steps"] == 6000
    assert values(rules.steps(10**6, base, 4, GPU))["trainer.train_steps"] == 15000


def test_a_larger_batch_needs_fewer_steps():
    base = experiments.load("maskrcnn_custom_small").config
    found = values(rules.steps(300, base, 16, TPU))
    # 1500 * 4 / 16 = 375 is 400 in hundreds; the warm-up is a tenth.
    assert found["trainer.train_steps"] == 400 and found["trainer.validation_interval"] == 70
    assert found["trainer.optimizer_config.warmup.linear.warmup_steps"] == 40
    assert values(rules.steps(300, base, 4096, TPU))["trainer.train_steps"] == 100


def test_evaluations_are_evenly_spaced():
    base = experiments.load("maskrcnn_custom_small").config
    assert values(rules.length(1270, 6, base, ""))["trainer.validation_interval"] == 220
    assert values(rules.length(90, 2, base, ""))["trainer.validation_interval"] == 45
    (_, evaluations, _, _) = rules.length(90, 1, base, "")
    assert evaluations.value == 90 and evaluations.reason == "1 evaluation"


def test_cache():
    gigabyte = 2**30
    assert values(rules.cache(gigabyte, 8 * gigabyte)) == {"train_data.cache": True}
    assert rules.cache(gigabyte + 1, 8 * gigabyte) == [] and rules.cache(1, 0) == []

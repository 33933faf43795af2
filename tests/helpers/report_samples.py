"""Small reports and comparisons with generated images, for tests of the pages."""

import numpy as np

from tpuseg.report import content, thumbnails
from tpuseg.report.bootstrap import Interval
from tpuseg.report.comparison import Comparison, ImageDifference, Metric, Setting

NAMES = ["person", "bicycle", "traffic light", "dog"]
ERRORS = content.ERRORS
SIZE = (240, 320)


def make_image(seed, boxes=(), size=SIZE):
    """Returns [H, W, 3] uint8: a smooth background with one ellipse for each box."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    first, second = random.integers(40, 170, (2, 3))
    image = first + (second - first) * ((x / size[1] + y / size[0]) / 2)[..., np.newaxis] + random.normal(0, 6, (*size, 1))
    for y0, x0, y1, x1 in boxes:
        inside = ((2 * y - y0 - y1) / (y1 - y0)) ** 2 + ((2 * x - x0 - x1) / (x1 - x0)) ** 2 <= 1
        image[inside] = random.integers(60, 255, 3) + random.normal(0, 6, (int(inside.sum()), 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def ellipse(box):
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    points = np.stack([x + np.cos(angles) * (box[3] - box[1]) / 2, y + np.sin(angles) * (box[2] - box[0]) / 2], axis=1)
    return [[round(float(value), 1) for value in points.ravel()]]


def mark(kind, label, box, score=None, error="", partner=None):
    return content.Mark(kind, label, tuple(float(value) for value in box), ellipse(box), score, error, partner)


def random_box(random, size=SIZE):
    height, width = random.uniform(14, 0.5 * size[0], 2)
    y0, x0 = random.uniform(0, size[0] - height), random.uniform(0, size[1] - width)
    return np.array([y0, x0, y0 + height, x0 + width])


def random_marks(random, num_objects):
    """Returns objects with predictions: right, wrong class, shifted, missed, duplicate and background."""
    marks = []
    for _ in range(num_objects):
        box, label = random_box(random), int(random.integers(len(NAMES)))
        kind = random.choice(6, p=[0.55, 0.1, 0.1, 0.1, 0.08, 0.07])
        score, place = float(random.uniform(0.3, 1)), len(marks)
        if kind == 3:
            marks.append(mark("truth", label, box, error="missed"))
            continue
        if kind == 4:
            marks.append(mark("prediction", label, box, score, "background"))
            continue
        error = ["", "classification", "localization", "", "", "duplicate"][kind]
        shift = random.uniform(-4, 4, 4) + (18 if kind == 2 else 0)
        predicted = (label + 1) % len(NAMES) if kind == 1 else label
        marks.append(mark("truth", label, box, partner=place + 1))
        marks.append(mark("prediction", predicted, box + shift, score, error, place))
    return marks


def make_card(number, marks, image, name=None):
    errors = {error: sum(mark.error == error for mark in marks) for error in ERRORS}
    errors = {error: count for error, count in errors.items() if count}
    right = sum(not mark.error for mark in marks)
    labels = sorted({mark.label for mark in marks})
    name = name or f"val_{number:05d}.jpg"
    return content.Card(f"{number}", name, SIZE, image, right / max(len(marks), 1), marks, {}, errors, labels)


def make_sections():
    scores = [round(0.05 * step, 2) for step in range(21)]
    f1 = [content.Series(name, scores, [max(0.0, 0.9 - (s - 0.2 * n) ** 2) for s in scores]) for n, name in enumerate(NAMES)]
    losses = content.Series("train loss", [100.0 * n for n in range(1, 50)], [3 / n**0.5 + 0.2 for n in range(1, 50)])
    gaps = content.Series("validation", [500.0, 1500.0, 2500.0, 3500.0, 4500.0], [1.4, 1.2, None, 1.0, 0.9])
    lost = content.Series("AP lost", [float(n) for n in range(6)], [0.04, 0.09, 0.01, 0.005, 0.06, 0.14])
    sizes = [
        content.Series(kind, [0.0, 1.0, 2.0], values) for kind, values in (("AP", [0.12, 0.31, 0.47]), ("AP50", [0.3, 0.5, 0.7]))
    ]
    calibration = content.Series("", [0.1, 0.3, 0.5, 0.7, 0.9], [0.02, 0.2, 0.41, 0.66, 0.93])
    matrix = [[52, 1, 0, 0, 9], [2, 30, 0, 1, 6], [0, 0, 21, 0, 14], [0, 1, 0, 44, 3], [8, 5, 7, 2, None]]
    rows = [["person", 0.412, 62, 0.55], ["bicycle", 0.287, 39, 0.6], ["traffic light", 0.101, 35, None], ["dog", 0.533, 48, 0.45]]
    ends = [*NAMES, "background"]
    return [
        content.Section(
            "metrics",
            "Metrics",
            ["Average precision of masks, over IoU from 0.50 to 0.95."],
            [
                content.Table("classes", "Classes", ["Class", "AP", "Instances", "Best threshold"], rows),
                content.Chart("f1", "F1 over the score threshold", "line", "score threshold", "F1", f1),
                content.Chart("sizes", "AP by object size", "bar", "object size", "AP", sizes, ["small", "medium", "large"]),
            ],
        ),
        content.Section(
            "errors",
            "Errors",
            [],
            [
                content.Chart("lost", "AP lost to each type of error", "bar", "type of error", "AP", [lost], list(ERRORS)),
                content.Matrix("confusion", "Confusion matrix", ends, ends, matrix, "ground truth", "prediction"),
                content.Chart("calibration", "Precision of scores", "points", "score", "precision", [calibration]),
            ],
        ),
        content.Section(
            "training",
            "Training",
            [],
            [
                content.Chart("loss", "Loss", "line", "step", "loss", [losses, gaps], note="Smoothed.", log_x=True),
            ],
        ),
    ]


FACTS = [("Model", "Mask R-CNN, MobileNetV2"), ("Mask AP", "0.312"), ("AP50", "0.521"), ("Images", "5,000"), ("Step", "20,000")]
ADVICE = [
    content.Advice(
        "61 % of the missed instances are smaller than 16 pixels on the canvas: increase the input size.", "task.model.input_size"
    ),
    content.Advice("Class traffic light has 12 training instances.", ""),
]


def make_instances(folder, num_images, num_objects=8, with_images=True):
    random = np.random.default_rng(0)
    cards, labels = [], []
    for number in range(num_images):
        marks = random_marks(random, num_objects)
        truths = [mark.box for mark in marks if mark.kind == "truth"]
        image = thumbnails.write_thumbnail(make_image(number, truths), folder, "x") if with_images else "images/none.jpg"
        cards.append(make_card(number, marks, image))
        for place, one in enumerate(marks):
            if one.error == "background" and one.score > 0.7:
                text = f"A prediction with score {one.score:.2f} has no label."
                labels.append(content.LabelToCheck(f"{number}", cards[-1].name, "", "missing label", one.score, text, one.box))
            if one.error == "missed":
                text = "No prediction is near this label."
                label = content.LabelToCheck(
                    f"{number}", cards[-1].name, f"{100 * number + place}", "no prediction", 0.4, text, one.box
                )
                labels.append(label)
    labels.sort(key=lambda label: -label.score)
    return content.Report("Evaluation of maskrcnn_custom", "instances", NAMES, FACTS, ADVICE, make_sections(), cards, labels)


def make_semantic(folder, num_images):
    random = np.random.default_rng(0)
    cards = []
    for number in range(num_images):
        boxes = [random_box(random) for _ in range(4)]
        truth, prediction = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
        for place, box in enumerate(boxes):
            y0, x0, y1, x1 = box.astype(int)
            truth[y0:y1, x0:x1] = place % len(NAMES)
            shift = random.integers(-8, 8)
            prediction[max(0, y0 + shift) : y1 + shift, x0:x1] = (place + (random.random() < 0.2)) % len(NAMES)
        layers = {
            "truth": thumbnails.write_class_map(truth, folder),
            "prediction": thumbnails.write_class_map(prediction, folder),
            "errors": thumbnails.write_error_map(truth != prediction, folder),
        }
        image = thumbnails.write_thumbnail(make_image(number, boxes), folder, "x")
        labels = sorted({int(label) for label in np.unique(truth)} | {int(label) for label in np.unique(prediction)})
        score, errors = float(np.mean(truth == prediction)), {"classification": 1} if number % 2 else {}
        cards.append(content.Card(f"{number}", f"frame_{number:04d}.png", SIZE, image, score, [], layers, errors, labels))
    facts = [("Mean IoU", "0.71"), ("Pixel accuracy", "0.93")]
    return content.Report("Evaluation of deeplab_custom", "semantic", NAMES, facts, ADVICE[1:], make_sections()[1:], cards, [])


def make_comparison(folder, num_images):
    random = np.random.default_rng(1)
    differences = []
    for number in range(num_images):
        boxes = [random_box(random) for _ in range(5)]
        image = thumbnails.write_thumbnail(make_image(number, boxes), folder, "x")
        cards = []
        for chance in (0.9, 0.5):
            found = [random.random() < chance for _ in boxes]
            marks = [
                mark("truth", place % 4, box, error="" if hit else "missed")
                for place, (box, hit) in enumerate(zip(boxes, found, strict=True))
            ]
            marks += [
                mark("prediction", place % 4, box + 2, 0.8)
                for place, (box, hit) in enumerate(zip(boxes, found, strict=True))
                if hit
            ]
            cards.append(make_card(number, marks, image))
        differences.append(ImageDifference(f"{number}", abs(cards[0].score - cards[1].score), cards))
    metrics = [
        Metric("Mask AP", [Interval(0.312, 0.290, 0.334), Interval(0.341, 0.318, 0.362)], [None, Interval(0.029, 0.011, 0.047)]),
        Metric("AP50", [Interval(0.52, 0.49, 0.55), Interval(0.53, 0.5, 0.56)], [None, Interval(0.01, -0.01, 0.03)]),
        Metric("Loss", [Interval(0.8, 0.7, 0.9), Interval(1.0, 0.9, 1.1)], [None, Interval(0.2, 0.1, 0.3)], higher_is_better=False),
    ]
    settings = [Setting("task.model.input_size", ["[512, 512]", "[768, 768]"]), Setting("trainer.train_steps", [20000, None])]
    runs = ["runs/small", "runs/large"]
    return Comparison(
        "small and large", "instances", NAMES, runs, [("Images", "40")], metrics, differences, settings, make_sections()[:1]
    )

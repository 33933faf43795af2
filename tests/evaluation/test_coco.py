"""Metrics from records against pycocotools on the annotation file itself, on generated images."""

import contextlib
import io
import json
import os

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tpuseg.convert import coco as convert
from tpuseg.convert import shapes
from tpuseg.data.examples import Category, id_type
from tpuseg.evaluation import coco
from tpuseg.evaluation.matching import SparseCocoEval, _Limits, _Matcher
from tpuseg.ops import masks

CATEGORIES = [Category(3, "circle"), Category(7, "square"), Category(8, "triangle"), Category(20, "star"), Category(41, "ring")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The annotation file, and the truth that was read from the records."""
    root = tmp_path_factory.mktemp("coco")
    shapes.make_shapes(str(root / "shapes"), shapes.ShapesConfig(num_train=0, num_val=30, max_objects=9))
    annotations = root / "shapes" / "annotations" / "instances_val.json"
    content = json.loads(annotations.read_text())
    random = np.random.default_rng(0)
    for row in content["annotations"]:
        # Crowds, areas of all sizes, and boxes that are not whole numbers, as in COCO.
        row["iscrowd"] = int(isinstance(row["segmentation"], dict) and random.uniform() < 0.3)
        row["area"] = round(row["area"] * float(random.uniform(0.5, 20)), 3)
        row["bbox"] = [round(value + float(random.uniform(-0.4, 0.4)), 2) for value in row["bbox"]]
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] != 20]  # A class without objects.
    annotations.write_text(json.dumps(content))
    images = str(root / "shapes" / "JPEGImages")
    summary = convert.convert_coco(images, str(annotations), str(root / "records"), num_shards=2)
    paths = [str(root / "records" / name) for name in summary["shards"]]
    return str(annotations), paths


def evaluator(data):
    return coco.CocoEvaluator(*coco.read_truth(data[1]))


def guess(result, seed):
    """Adds detections near the objects, and elsewhere; several have the same score."""
    random = np.random.default_rng(seed)
    ids = [category.id for category in result.categories]
    for index, truth in enumerate(result.truths[:-2]):  # Nothing is found in the last two.
        boxes, classes = [], []
        for row in truth.annotations * 4:
            x, y, width, height = row["bbox"]
            boxes.append([y, x, y + height, x + width] + random.normal(0, 0.07, 4) * [height, width, height, width])
            classes.append(ids.index(row["category_id"]) if random.uniform() < 0.8 else random.integers(len(ids)))
        if boxes:
            probabilities = random.uniform(0.3, 1.0, (len(boxes), 28, 28))
            scores = np.round(random.uniform(0.05, 1, len(boxes)), 1)
            result.add(index, np.clip(boxes, 0, [truth.height, truth.width] * 2), scores, np.array(classes), probabilities)
    return result


def reference(path, rows, kind):
    """The twelve numbers of pycocotools from the annotation file and a file of results, or a list of them."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        found = truth.loadRes(rows)
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(3))
def test_from_records_alone_as_from_the_annotation_file(data, seed, tmp_path, capsys):
    result = guess(evaluator(data), seed)
    assert result.categories == CATEGORIES
    metrics = result.metrics()
    assert capsys.readouterr().out == ""
    result.write_results(str(tmp_path / "results.json"))
    rows = json.loads((tmp_path / "results.json").read_text())
    for kind in coco.KINDS:
        expected = reference(data[0], str(tmp_path / f"results_{kind}.json"), kind)
        numbers = [-1 if metrics[kind][name] is None else metrics[kind][name] for name in coco.METRICS]
        # Exactly: what is written has no number that was rounded.
        assert numbers == expected.stats.tolist()
        assert 0 < metrics[kind]["AP"] < 1
        precision = expected.eval["precision"][:, :, :, 0, -1]
        for place, category in enumerate(CATEGORIES):
            values = precision[:, :, place]
            mean = metrics["per_class"][category.name][kind]
            assert mean == (pytest.approx(values.mean(), abs=1e-6) if category.name != "star" else None)
    assert metrics["num_images"] == 30 and metrics["num_detections"] == len(rows)


def test_truth_fed_back_is_perfect(data):
    result = evaluator(data)
    ids = [category.id for category in result.categories]
    for index, truth in enumerate(result.truths):
        rows = [row for row in truth.annotations if not row["iscrowd"]]
        if not rows:
            continue
        # In a frame that is the whole image, a mask of the image's own pixels comes back as it is.
        exact = np.stack([masks.decode(row["segmentation"]) for row in rows])
        size = max(truth.height, truth.width)
        square = np.zeros((len(rows), size, size))
        square[:, : truth.height, : truth.width] = exact
        classes = np.array([ids.index(row["category_id"]) for row in rows])
        result.add(index, np.tile([0.0, 0.0, size, size], (len(rows), 1)), np.ones(len(rows)), classes, square)
        for row, found in zip(rows, result.detections[index], strict=True):
            assert found["segmentation"] == row["segmentation"]
            found["bbox"] = row["bbox"]
    metrics = result.metrics()
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == metrics["segm"]["AP50"] == 1.0
    assert metrics["per_class"]["ring"] == {"bbox": 1.0, "segm": 1.0}
    assert metrics["per_class"]["star"] == {"bbox": None, "segm": None}


def test_no_detection_at_all(data):
    metrics = evaluator(data).metrics()
    assert metrics["bbox"]["AP"] == metrics["segm"]["AR100"] == metrics["per_class"]["ring"]["segm"] == 0.0
    assert metrics["num_detections"] == 0
    assert "0 detections in 30 images" in coco.table(metrics)


def test_no_object_at_all():
    truths = [coco.ImageTruth("a", 10, 10, []), coco.ImageTruth("b", 10, 10, [])]
    result = coco.CocoEvaluator([Category(1, "x")], truths)
    result.add(1, np.array([[0, 0, 5, 5]]), np.array([0.5]), np.array([0]), np.ones((1, 28, 28)))
    metrics = result.metrics()
    assert set(metrics["bbox"].values()) == {None} and metrics["per_class"] == {"x": {"bbox": None, "segm": None}}
    assert "     -" in coco.table(metrics)
    assert [row["image_id"] for row in result.results()] == ["b"]


IDS = {
    "with zeros": ["000002", "000001", "000003"],
    "texts of digits": ["2", "10", "1"],
    "negative": [-1, -3, -2],
    "words": ["x-2", "x-1", "x-3"],
    "hashes": [2**63 + 2, 5, 2**63 + 1],
    "numbers and texts": [1, "1", "a"],
}


def dots(ids, counts):
    """Images whose instances are squares of 8 x 8 pixels side by side, and the annotation file that describes them."""
    truths, images, annotations = [], [], []
    for own, count in zip(ids, counts, strict=True):
        rows = []
        for number in range(count):
            y, x = (10 * place for place in divmod(number, 25))
            mask = np.zeros((128, 256), np.uint8)
            mask[y : y + 8, x : x + 8] = 1
            rows.append(
                {"category_id": 1, "bbox": [x, y, 8.0, 8.0], "area": 64.0, "iscrowd": 0, "segmentation": masks.encode(mask)}
            )
        truths.append(coco.ImageTruth(str(own), 128, 256, rows, id_type(own)))
        images.append({"id": own, "file_name": f"{own}.png", "height": 128, "width": 256})
        for row in rows:
            text = {**row["segmentation"], "counts": row["segmentation"]["counts"].decode()}
            annotations.append({**row, "segmentation": text, "id": len(annotations) + 1, "image_id": own})
    return truths, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dot"}]}


def give_back(result, index, scores):
    """Adds the truth of an image as detections."""
    rows = result.truths[index].annotations[: len(scores)]
    boxes = np.array([[y, x, y + h, x + w] for x, y, w, h in (row["bbox"] for row in rows)])
    result.add(index, boxes, np.array(scores), np.zeros(len(rows), int), np.ones((len(rows), 28, 28)))


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_ids_keep_their_type_and_pycocotools_takes_the_files(tmp_path, ids):
    truths, content = dots(ids, [3, 2, 4])
    (tmp_path / "truth.json").write_text(json.dumps(content))
    result = coco.CocoEvaluator([Category(1, "dot")], truths)
    # Equal scores: their order, that of the images, decides.
    give_back(result, 0, [0.5, 0.5, 0.5])
    give_back(result, 1, [0.5])
    result.add(2, np.array([[90.0, 90, 99, 99]]), np.array([0.5]), np.zeros(1, int), np.ones((1, 28, 28)))
    result.write_results(str(tmp_path / "found.json"))
    written = {row["image_id"] for row in json.loads((tmp_path / "found.json").read_text())}
    assert written == set(ids) and {type(one) for one in written} == {type(one) for one in ids}
    metrics = result.metrics()
    assert 0.1 < metrics["bbox"]["AP"] < 0.9
    if ids == IDS["numbers and texts"]:
        return  # pycocotools makes texts of all, and finds none of the numbers again.
    if ids == IDS["hashes"]:
        return  # pycocotools makes floats of numbers that large.
    for kind in coco.KINDS:
        expected = reference(str(tmp_path / "truth.json"), str(tmp_path / f"found_{kind}.json"), kind)
        assert [-1 if value is None else value for value in metrics[kind].values()] == expected.stats.tolist()


def test_ids_keep_their_type_through_a_conversion(tmp_path):
    for name, ids in IDS.items():
        _, content = dots(ids, [1, 1, 1])
        content["images"] = [{**row, "file_name": f"{place}.png"} for place, row in enumerate(content["images"])]
        for place in range(3):
            PIL.Image.new("RGB", (256, 128), (place, 0, 0)).save(tmp_path / f"{place}.png")
        (tmp_path / "ann.json").write_text(json.dumps(content))
        if name == "numbers and texts":
            continue  # 1 and "1" are one image to the converter.
        summary = convert.convert_coco(str(tmp_path), str(tmp_path / "ann.json"), str(tmp_path / name), num_shards=1)
        _, truths = coco.read_truth([str(tmp_path / name / shard) for shard in summary["shards"]])
        assert sorted(repr(truth.image_id) for truth in truths) == sorted(map(repr, ids))


def test_more_than_a_hundred_instances_have_metrics_of_their_own():
    truths, _ = dots([1, 2], [150, 20])
    result = coco.CocoEvaluator([Category(1, "dot")], truths, max_detections=200)
    give_back(result, 0, np.linspace(0.9, 0.8, 150))
    give_back(result, 1, np.linspace(0.9, 0.8, 20))
    metrics = result.metrics()
    for kind in coco.KINDS:
        assert set(metrics[kind]) == {*coco.METRICS, *coco.METRICS_OF_ALL}
        # 120 of 170 can be found; precision is 1 at the recalls up to 0.70, which are 71 of 101.
        assert metrics[kind]["AP"] == pytest.approx(71 / 101) and metrics[kind]["AR100"] == pytest.approx(120 / 170)
        found = {name: metrics[kind][name] for name in coco.METRICS_OF_ALL}
        assert found == {name: None if name[2] in "ml" else 1.0 for name in coco.METRICS_OF_ALL}
    assert "AP_all" in coco.table(metrics) and metrics["num_instances"] == 170
    plain = coco.CocoEvaluator([Category(1, "dot")], truths, max_detections=100)
    plain.detections = result.detections
    standard = plain.metrics()
    assert all(standard[kind] == {name: metrics[kind][name] for name in coco.METRICS} for kind in coco.KINDS)
    assert standard["per_class"] == metrics["per_class"] and "AP_all" not in coco.table(standard)


def test_detections_beyond_a_hundred_count_without_being_asked_for():
    # The second image has one detection, and the second class no object.
    truths, _ = dots([1, 2], [150, 1])
    result = coco.CocoEvaluator([Category(1, "dot"), Category(2, "dash")], truths)
    give_back(result, 0, np.full(150, 0.9))
    give_back(result, 1, [0.9])
    assert result.metrics()["bbox"]["AP_all"] == 1.0


def test_metrics_of_all_are_those_of_the_thresholds_and_sizes_in_their_names():
    truths, _ = dots([1], [4])
    truths[0].annotations[0]["area"] = 50.0**2
    result = coco.CocoEvaluator([Category(1, "dot")], truths, max_detections=101)
    # One exact box, and one of IoU 48/64 = 0.75 for the medium object; two objects are not found.
    boxes = np.array([[0.0, 10, 8, 18], [0.0, 0, 6, 8]])
    result.add(0, boxes, np.array([0.9, 0.8]), np.zeros(2, int), np.ones((2, 28, 28)))
    found = result.metrics()["bbox"]
    others = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "ARs", "ARm", "ARl"]
    for name, other in zip(coco.METRICS_OF_ALL, others, strict=True):
        has_objects = name not in ("APl_all", "ARl_all")  # None is large.
        assert found[name] == (pytest.approx(found[other]) if has_objects else None) and has_objects == (found[other] is not None)
    # Recall 2/4 up to 0.75, then 1/4: 6 and 4 of 10 thresholds.
    assert found["AR_all"] == pytest.approx(0.6 * 0.5 + 0.4 * 0.25) and found["ARl_all"] is None
    assert found["AP50_all"] == pytest.approx(51 / 101) and found["AP75_all"] == pytest.approx(51 / 101)


def test_without_the_summary_only_names_of_unused_classes_are_lost(data):
    expected = guess(evaluator(data), 0).metrics()
    path = os.path.join(os.path.dirname(data[1][0]), "val.json")
    os.rename(path, path + ".away")
    try:
        categories, truths = coco.read_truth(data[1])
    finally:
        os.rename(path + ".away", path)
    # The id of the class without a name is none of the others', of which 41 is the largest: 42 + 3.
    assert categories == [*CATEGORIES[:3], Category(45, "class 3"), CATEGORIES[4]]
    metrics = guess(coco.CocoEvaluator(categories, truths), 0).metrics()
    assert metrics["bbox"] == expected["bbox"] and metrics["segm"] == expected["segm"]


def test_files_with_different_categories(data, tmp_path):
    summary = json.loads(open(os.path.join(os.path.dirname(data[1][0]), "val.json")).read())
    summary["categories"][2]["name"] = "three corners"
    (tmp_path / "val.json").write_text(json.dumps(summary))
    copy = tmp_path / os.path.basename(data[1][0])
    copy.write_bytes(open(data[1][0], "rb").read())
    with pytest.raises(ValueError, match="class 2 is category 8 `three corners`, in other files 8 `triangle`"):
        coco.read_truth([str(copy)])


def test_records_of_another_kind(shapes_dir):
    path = os.path.join(shapes_dir, "shapes", "semantic", "val-00000-of-00002.tfrecord")
    with pytest.raises(ValueError, match=r"val-00000-of-00002.tfrecord: record 0 .* it is a record for DeepLab"):
        coco.read_truth([path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": np.array([5])}, "image 1: a detection has class 5, but the records have 5 categories"),
        ({"scores": np.array([np.nan])}, "image 1: a score is not a finite number"),
        ({"boxes": np.array([[0, 0, np.inf, 1]])}, "image 1: the boxes have values that are not finite"),
    ],
)
def test_wrong_detections(data, change, message):
    given = {"boxes": np.ones((1, 4)), "scores": np.ones(1), "classes": np.zeros(1, int)}
    given["mask_probabilities"] = np.ones((1, 28, 28))
    with pytest.raises(ValueError, match=message):
        evaluator(data).add(0, **{**given, **change})


def test_masks_at_the_size_of_the_image_are_added_like_box_masks():
    truths, _ = dots([1], [2])
    added, expected = (coco.CocoEvaluator([Category(1, "dot")], truths) for _ in range(2))
    boxes, scores, classes = np.array([[0.0, 0, 8, 8], [0.0, 10, 8, 18]]), np.array([0.9, 0.8]), np.zeros(2, int)
    expected.add(0, boxes, scores, classes, np.ones((2, 28, 28)))
    added.add_runs(0, boxes, scores, classes, [row["segmentation"] for row in truths[0].annotations])
    assert added.detections == expected.detections and added.detections[0][1]["area"] == 64
    for change, message in (((scores, classes + 1), "has class 1, but"), ((scores * [1, np.nan], classes), "not a finite number")):
        with pytest.raises(ValueError, match=message):
            added.add_runs(0, boxes, *change, [row["segmentation"] for row in truths[0].annotations])


def test_no_file_has_no_category_and_no_image():
    assert coco.read_truth([]) == ([], [])


def test_classes_whose_objects_are_all_crowds_have_no_truth():
    truths, _ = dots([1], [3])
    for row, (category, is_crowd) in zip(truths[0].annotations, ((4, 0), (5, 1), (4, 1)), strict=True):
        row.update(category_id=category, iscrowd=is_crowd)
    result = coco.CocoEvaluator([Category(4, "dot"), Category(5, "crowd"), Category(6, "unused")], truths)
    assert result.metrics()["classes_without_truth"] == ["crowd", "unused"]


def test_ranks():
    assert coco._ranks(["b", "c", "a"]) == [2, 3, 1] and coco._ranks([10, 9]) == [2, 1]
    assert coco._ranks([5, 3, 5]) == coco._ranks([5, "3", 4]) == [1, 2, 3]


def test_the_table():
    numbers = {name: place / 100 for place, name in enumerate(coco.METRICS)}
    metrics = {
        "bbox": numbers,
        "segm": {**numbers, "AP": None},
        "per_class": {"cat": {"bbox": 0.5, "segm": 0.25}, "a long name": {"bbox": None, "segm": None}},
        "num_detections": 1,
        "num_images": 3,
        "classes_without_truth": ["a long name"],
    }
    last = ["class          bbox    segm", "cat          0.5000  0.2500", "a long name       -       -"]
    last.append("1 detection in 3 images (1 of 2 classes has ground truth)")
    rest = "0.0100  0.0200  0.0300  0.0400  0.0500  0.0600  0.0700  0.0800  0.0900  0.1000  0.1100"
    assert coco.table(metrics).split("\n") == [
        "                 AP    AP50    AP75     APs     APm     APl     AR1    AR10   AR100     ARs     ARm     ARl",
        f"bbox         0.0000  {rest}",
        f"segm              -  {rest}",
        *last,
    ]
    for kind in coco.KINDS:
        metrics[kind] = {**metrics[kind], **{name: place / 100 for place, name in enumerate(coco.METRICS_OF_ALL)}}
    row = "0.0000    0.0100    0.0200    0.0300    0.0400    0.0500    0.0600    0.0700    0.0800    0.0900"
    assert coco.table(metrics).split("\n")[3:] == [
        "               AP_all  AP50_all  AP75_all   APs_all   APm_all   APl_all    AR_all   ARs_all   ARm_all   ARl_all",
        f"bbox           {row}",
        f"segm           {row}",
        *last,
    ]


@pytest.mark.parametrize("seed", range(6))
def test_matches_are_pycocotools_own(seed):
    random = np.random.default_rng(seed)

    def rows(count, detected):
        made = []
        for number in range(1, count + 1):
            corner, side = random.integers(0, 6, 2), random.integers(1, 7, 2)
            row = {"id": number, "image_id": int(random.integers(1, 5)), "category_id": int(random.integers(1, 3))}
            row |= {"bbox": [*map(float, corner), *map(float, side)], "area": float(side.prod()) * 256, "segmentation": []}
            row["iscrowd"] = 0 if detected else int(random.uniform() < 0.2)
            made.append(row | ({"score": float(random.integers(0, 9) / 10)} if detected else {}))
        return made

    def index(rows):
        with contextlib.redirect_stdout(io.StringIO()):
            api = COCO()
            api.dataset = {
                "images": [{"id": number} for number in range(1, 6)],
                "categories": [{"id": number} for number in range(1, 4)],
                "annotations": [dict(row) for row in rows],
            }
            api.createIndex()
        return api

    objects, found = rows(40, False), rows(150, True)
    ours, theirs = (cls(index(objects), index(found), "bbox") for cls in (SparseCocoEval, COCOeval))
    ours.evaluate()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.evaluate()
    assert len(ours.evalImgs) == len(theirs.evalImgs) == 3 * 4 * 5
    assert sum(entry is not None for entry in ours.evalImgs) == sum(entry is not None for entry in theirs.evalImgs) > 20
    for mine, yours in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        for key in mine or ():
            np.testing.assert_array_equal(mine[key], yours[key])


def one_of_each():
    """An object and a detection with the same box, as pycocotools' class wants them."""
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 8.0, 8.0], "area": 64.0, "iscrowd": 0, "score": 0.9}
    return [coco._Annotations([1], [1], [dict(row)]) for _ in range(2)]


def test_only_pairs_that_overlap_are_compared(monkeypatch):
    monkeypatch.setattr(COCOeval, "evaluateImg", None)  # pycocotools' own comparison of all pairs.
    evaluation = SparseCocoEval(*one_of_each(), "bbox")
    evaluation.evaluate()
    assert evaluation.evalImgs[0]["dtMatches"].tolist() == [[1]] * 10


def test_a_threshold_of_1_allows_for_rounding(monkeypatch):
    for iou, matched in ((1 - 1e-11, 1), (1 - 1e-9, 0)):
        monkeypatch.setattr(SparseCocoEval, "computeIoU", lambda *_, iou=iou: [[iou]])
        evaluation = SparseCocoEval(*one_of_each(), "bbox")
        evaluation.params.iouThrs = np.array([1.0])
        evaluation.evaluate()
        assert evaluation.evalImgs[0]["dtMatches"].tolist() == [[matched]]


@pytest.mark.parametrize(("ignored", "matches"), [(False, [[2, 1], [2, 0]]), (True, [[1, 2], [2, 0]])])
def test_the_example_in_the_docstring_of_matching(ignored, matches):
    objects = [{"id": 1, "area": 1, "ignore": 0}, {"id": 2, "area": 1, "ignore": int(ignored)}]
    detections = [{"score": 0.9, "area": 1}, {"score": 0.8, "area": 1}]
    limits = _Limits(np.array([0.5, 0.7]), np.array([[0.0]]), np.array([[10.0]]), 100)
    result = _Matcher(objects, detections, [[0.55, 0.80], [0.60, 0.75]], limits).match(0)
    assert result["dtMatches"].tolist() == matches
    assert result["dtIgnore"].tolist() == ([[False, True], [True, False]] if ignored else [[False] * 2] * 2)

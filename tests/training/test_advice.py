"""What is said at the end of a run: one case where each rule speaks, and one where it is silent."""

import pytest

from tpuseg.training import advice


def objects(step, mean, loss=None, sizes=(0.6, 0.7, 0.8)):
    segm = {"AP": mean, **dict(zip(("ARs", "ARm", "ARl"), sizes, strict=True))}
    return {"step": step, "loss": loss, "segm": segm, "per_class": {"cat": {"segm": 0.5}, "dog": {"segm": 0.2}}}


def test_the_weakest_classes():
    iou = {"sky": 0.9, "road": 0.8, "car": 0.1, "sign": None, "tree": 0.25, "wall": 0.5}
    assert advice.weakest_classes({"per_class_iou": iou}) == "weakest classes by IoU: car 0.100, tree 0.250, wall 0.500"
    assert advice.weakest_classes(objects(1, 0.5)) == "weakest classes by mask AP: dog 0.200"
    assert advice.weakest_classes({"per_class_iou": {"a": 0.1, "b": None}}) is None
    assert advice.weakest_classes({}) is None


def test_objects_missed_by_size():
    text = advice.missed_sizes(objects(1, 0.5, sizes=(0.1, 0.5, 0.8)))
    assert text.startswith("recall (AR) of objects by size: small (below 32x32 pixels) 0.100, medium 0.500, large")
    assert "task.model.input_size" in text
    # There is nothing to do if sizes are alike, or if the large ones are those that are missed.
    for sizes in ((0.6, 0.7, 0.8), (0.8, 0.5, 0.1), (None, 0.1, 0.8)):
        assert "input_size" not in advice.missed_sizes(objects(1, 0.5, sizes=sizes))
    assert advice.missed_sizes({"mean_iou": 0.5}) is None and advice.missed_sizes(objects(1, 0.5, sizes=(None,) * 3)) is None


@pytest.mark.parametrize(
    ("losses", "is_overfit"),
    [([1.0, 0.5, 0.6], True), ([1.0, 0.5, 0.54], False), ([1.0, 0.5, 0.4], False), ([0.5], False), ([None, None], False)],
)
def test_overfitting(losses, is_overfit):
    text = advice.overfitting([objects(100 * number, 0.5, loss) for number, loss in enumerate(losses, 1)])
    assert (text is not None) is is_overfit
    assert not is_overfit or "lowest at step 200 (0.500) and is 0.600 now" in text


def test_what_to_try():
    def said(*values):
        return advice.next_step([objects(number, value) for number, value in enumerate(values)], "segm/AP")

    assert "rising, from 0.300 to 0.400: more trainer.train_steps" in said(0.2, 0.3, 0.4)
    assert said(0.2, 0.4, 0.401) is None and said(0.2, 0.5, 0.4) is None and said(0.4) is None and said(None) is None
    assert "segm/AP is 0.010, almost 0: look at the model directory's pictures/" in said(0.02, 0.01)


def test_all_lines_together():
    assert advice.lines([], "segm/AP") == []
    assert len(advice.lines([objects(1, 0.2, 0.5), objects(2, 0.4, 0.9)], "segm/AP")) == 4

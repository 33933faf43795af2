"""Which mask belongs to which image."""

import pytest

from tpuseg.formats import pairing


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("imgs/sub/a.jpg", "gt/sub/a.png"),
        ("Images/a.JPG", "Labels/a.PNG"),
        ("a.jpg", "a_mask.png"),
        ("a.jpg", "a_gt.png"),
        ("a.jpg", "masks/a.png"),
        ("images/a.jpg", "masks/a_mask.png"),
        ("100_sat.jpg", "100_mask.png"),  # DeepGlobe.
        ("701/0001TP_006690.png", "701_labels/0001TP_006690_L.png"),  # CamVid.
        ("train/a.png", "trainannot/a.png"),  # SegNet's CamVid.
        ("train/a.png", "train_labels/a.png"),
        ("train_images/a.png", "train_masks/a.png"),
        ("images/train/a.png", "masks/train/a.png"),
        ("train/images/a.png", "masks/train/a.png"),
        ("data/img_1.png", "data/mask_1.png"),
        ("images/img_1.png", "masks/img_1.png"),
        ("train/x_jpg.rf.0a1b.jpg", "train/x_jpg.rf.0a1b_mask.png"),  # Roboflow.
        ("ISIC_1.jpg", "ISIC_1_segmentation.png"),
    ],
)
def test_layouts(image, mask):
    found = pairing.pair([image, mask])
    assert found.pairs == [(image, mask)] and not found.images and not found.masks and not found.contested


def test_splits_are_told_apart():
    found = pairing.pair(["images/train/a.png", "images/val/a.png", "masks/val/a.png", "masks/train/a.png"])
    assert found.pairs == [("images/train/a.png", "masks/train/a.png"), ("images/val/a.png", "masks/val/a.png")]


def test_what_has_no_partner():
    found = pairing.pair(["images/a.png", "images/b.png", "masks/b.png", "masks/c.png"])
    assert found == ([("images/b.png", "masks/b.png")], ["images/a.png"], ["masks/c.png"], [])


def test_what_could_be_several():
    found = pairing.pair(["images/a.jpg", "images/a.png", "masks/a.png", "images/b.png", "b_mask.png", "b_gt.png"])
    assert not found.pairs and found.contested == [["b_gt.png", "b_mask.png"], ["images/a.jpg", "images/a.png"]]
    assert found.images == ["images/b.png"] and found.masks == ["masks/a.png"]


@pytest.mark.parametrize(
    "name", ["unmask.png", "small.png", "trail.png", "forest/gtx.png", "masked/a.png", "a_l.png", "oral/a.png"]
)
def test_words_are_whole_words(name):
    assert pairing.pair([name]).images == [name]

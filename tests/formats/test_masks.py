"""Semantic data sets of image and mask files: VOC folders and pairs of images and masks, and what their values mean."""

import numpy as np
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image, write_mask
from voc_folder import make_voc

from tpuseg.convert.mask_values import parse_values
from tpuseg.formats import detection, mask_classes
from tpuseg.formats.dataset import Options
from tpuseg.formats.mask_files import Values
from tpuseg.visualization.drawing import color_map

IDS = rectangle((1, 5), (2, 7)) + rectangle((3, 7), (6, 11))  # Values 0, 1 and 2.


def write_pairs(root, masks, name="{}"):
    for number, ids in enumerate(masks):
        write_image(root / "images" / f"{number}.jpg", ids.shape[1], ids.shape[0])
        write_mask(root / "masks" / f"{name.format(number)}.png", ids)


def test_pairs(tmp_path):
    write_pairs(tmp_path, [IDS, IDS.T.copy()], name="{}_mask")
    write_image(tmp_path / "images" / "alone.jpg")
    write_mask(tmp_path / "masks" / "nobody.png", IDS)
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.format == "image_masks" and dataset.kind == "semantic" and dataset.num_images == 3
    assert [image.name for image in dataset.images] == ["images/0.jpg", "images/1.jpg"]
    assert kinds(dataset.findings) == {"image_without_labels": 1, "labels_without_image": 1}
    assert dataset.notes[0] == "2 images in images/ have their masks in masks/: the mask of 0.jpg is 0_mask.png"
    assert dataset.class_names == ["class_0", "class_1", "class_2"] and "class_0, class_1, class_2" in dataset.notes[1]
    found = pixels(dataset)
    assert np.array_equal(found["images/0.jpg"], IDS) and np.array_equal(found["images/1.jpg"], IDS.T)


def test_splits_and_contested_pairs(tmp_path):
    for split in ("train", "valid"):
        write_pairs(tmp_path / split, [IDS])
    write_image(tmp_path / "train/images/0.png")
    dataset = detection.read_dataset(str(tmp_path))
    assert [(image.name, image.split) for image in dataset.images] == [("valid/images/0.jpg", "val")]
    assert kinds(dataset.findings)["pair_unclear"] == 1


def test_masks_of_which_most_have_no_image_are_no_pairs(tmp_path):
    write_pairs(tmp_path, [IDS])
    for number in range(2):
        write_mask(tmp_path / "masks" / f"more_{number}.png", IDS)
    with pytest.raises(ValueError, match="is in no known format"):
        detection.read_dataset(str(tmp_path))
    assert len(detection.read_dataset(str(tmp_path), "image_masks").images) == 1


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        ([0, 255], ["background", "foreground"], {0: 0, 255: 1}),
        ([0, 1], ["background", "foreground"], {0: 0, 1: 1}),
        ([0, 1, 255], ["background", "foreground"], {0: 0, 1: 1, 255: 255}),
        ([0, 38], ["background", "foreground"], {0: 0, 38: 1}),
        ([0, 1, 3], ["class_0", "class_1", "class_2", "class_3"], {0: 0, 1: 1, 3: 3}),
        ([0, 1, 2, 255], ["class_0", "class_1", "class_2"], {1: 1, 255: 255}),
        ([0, 85, 170, 255], ["value_0", "value_85", "value_170", "value_255"], {0: 0, 85: 1, 170: 2, 255: 3}),
        ([0, 1, 5], [f"class_{number}" for number in range(6)], {5: 5}),
        ([0, 1, 6], ["value_0", "value_1", "value_6"], {0: 0, 1: 1, 6: 2}),
        ([1], ["value_1"], {1: 0}),
        ([1, 2], ["class_0", "class_1", "class_2"], {1: 1, 2: 2}),
        ([7, 9], ["value_7", "value_9"], {7: 0, 9: 1}),
        ([0, 65535], ["background", "foreground"], {0: 0, 65535: 1}),
        ([0, 1000, 2000], ["value_0", "value_1000", "value_2000"], {0: 0, 1000: 1, 2000: 2}),
    ],
)
def test_values_without_names(tmp_path, values, names, ids):
    masks = np.resize(np.array(values, np.uint16 if max(values) > 255 else np.uint8), (8, 12))
    write_pairs(tmp_path, [masks])
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == names
    found = pixels(dataset)["images/0.jpg"]
    assert all((found[masks == value] == wanted).all() for value, wanted in ids.items())


def test_minus_one_is_ignored():
    found = mask_classes.from_values([Values(frozenset([-1, 0, 1]), frozenset())], Options())
    assert found.names == ("background", "foreground") and found.rules.values.ignored == (-1,)


def test_colors_without_names(tmp_path):
    colors = np.array([(0, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)
    write_pairs(tmp_path, [colors[IDS]])
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == ["color_0_0_0", "color_0_255_0", "color_255_0_0"]
    assert np.array_equal(pixels(dataset)["images/0.jpg"], IDS)


def test_two_colors_without_black_keep_their_names(tmp_path):
    write_pairs(tmp_path, [np.array([(0, 0, 9), (255, 255, 255)], np.uint8)[IDS % 2]])
    assert detection.read_dataset(str(tmp_path)).class_names == ["color_0_0_9", "color_255_255_255"]


def test_two_colors_are_foreground_and_background(tmp_path):
    write_pairs(tmp_path, [np.array([(0, 0, 0), (255, 255, 255)], np.uint8)[IDS % 2]])
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == ["background", "foreground"] and np.array_equal(pixels(dataset)["images/0.jpg"], IDS % 2)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [Values(frozenset([0]), frozenset()), Values(frozenset(), frozenset([(0, 0, 0)]))],
            "some masks contain class ids and others",
        ),
        (
            [Values(frozenset(range(0, 600, 2)), frozenset())],
            "the masks contain 300 different values, more than the maximum of 255 classes",
        ),
        ([Values(frozenset(), frozenset((1, 2, value) for value in range(256)))], "256 different colours"),
        ([Values(frozenset([0, -7]), frozenset())], "the masks contain the value -7"),
        ([Values(frozenset([0, 70000]), frozenset())], "the masks contain the value 70000"),
    ],
)
def test_values_that_are_no_classes(found, message):
    with pytest.raises(ValueError, match=message):
        mask_classes.from_values(found, Options())


def test_a_mask_with_too_many_values_names_itself(tmp_path):
    write_pairs(tmp_path, [np.arange(1200, dtype=np.uint16).reshape(30, 40)])
    with pytest.raises(ValueError, match=r"0.png has more than 256 different values; .*resized with interpolation"):
        detection.read_dataset(str(tmp_path))


def test_a_jpeg_is_no_mask(tmp_path):
    write_pairs(tmp_path, [IDS])
    write_image(tmp_path / "masks" / "0.jpg")
    (tmp_path / "masks" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"masks/0.jpg .*JPEG"):
        detection.read_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "names", "note"),
    [
        ("classes.txt", "sky\nroad\ncar\n", ["sky", "road", "car"], "the names of the 3 classes come from classes.txt"),
        ("masks/labels.txt", "__ignore__\n_background_\nroad\ncar", ["background", "road", "car"], "from masks/labels.txt"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, car\n", ["background", "road", "car"], "_classes.csv"),
        ("_classes.csv", "Pixel Value, Class\n2, car\n0, none\n1, road", ["none", "road", "car"], "_classes.csv"),
    ],
)
def test_files_of_names(tmp_path, file, content, names, note):
    write_pairs(tmp_path, [IDS])
    (tmp_path / file).write_text(content)
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == names and dataset.notes[1].endswith(note)
    assert np.array_equal(pixels(dataset)["images/0.jpg"], IDS)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("class_dict.csv", "name,r,g,b\nsky,10,20,30\nroad,0,0,0\ncar,255,0,1\n"),
        ("class_dict.csv", "sky,10,20,30\nroad,0,0,0\ncar,255,0,1\n"),
        ("label_colors.txt", "10 20 30\tsky\n0 0 0\t\troad\n255 0 1\tcar\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:10,20,30::\nroad:0,0,0::\ncar:255,0,1::\n"),
    ],
)
def test_files_of_colors(tmp_path, file, content):
    write_pairs(tmp_path, [np.array([(10, 20, 30), (0, 0, 0), (255, 0, 1)], np.uint8)[IDS]])
    (tmp_path / file).write_text(content)
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == ["sky", "road", "car"] and np.array_equal(pixels(dataset)["images/0.jpg"], IDS)


def test_pixel_values_with_gaps_are_numbered(tmp_path):
    write_pairs(tmp_path, [np.array([7, 0, 200], np.uint8)[IDS]])
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, road\n7, sky\n200, car\n")
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names == ["road", "sky", "car"]
    assert np.array_equal(pixels(dataset)["images/0.jpg"], np.array([1, 0, 2], np.uint8)[IDS])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("class_dict.csv", "name,r,g,b\nsky,1,2\n", "row 2 has 3 columns"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,256\n", "class `sky` has the colour 1, 2, 256"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,3\nroad,1,2,3", "class `road` has the name or colour of an earlier class"),
        ("class_dict.csv", "name,r,g,b\nname,r,g,b\nsky,1,2,3", "class `name` has the colour r, g, b"),
        ("class_dict.csv", "sky,1,2\nroad,1,2,3", "row 1 has 3 columns"),
        ("class_dict.csv", "sky,1,2,3\nsky,1,2,4", "class `sky` has the name or colour"),
        ("class_dict.csv", "sky,1,2,²", "class `sky` has the colour 1, 2, ²"),
        ("class_dict.csv", "sky,1,2,0003", "class `sky` has the colour 1, 2, 0003"),
        ("class_dict.csv", "name,r,g,b\n", "names no class"),
        ("label_colors.txt", "1 2 sky\n", "line 1: `1 2 sky` is not `red green blue name`"),
        ("_classes.csv", "Pixel Value, Class\n1, a\n1, b", "row 3 has the value 1 again"),
        ("_classes.csv", "0, a, b", "row 1 is not `value,name`"),
        ("_classes.csv", "0, a\n², b", "row 2 is not `value,name`"),
        ("_classes.csv", "0, a\n123456, b", "row 2 is not `value,name`"),
        ("_classes.csv", "Pixel Value, Class\nx, a", "row 2 is not `value,name`"),
        ("_classes.csv", "Pixel Value, Class\n", "names no class"),
        ("classes.txt", "\n", "names no class"),
        ("labelmap.txt", "sky\n", "line 1"),
    ],
)
def test_damaged_files_of_names(tmp_path, file, content, message):
    write_pairs(tmp_path, [IDS])
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f"{file}.*{message}"):
        detection.read_dataset(str(tmp_path))


def test_names_of_the_user_win(tmp_path):
    write_pairs(tmp_path, [IDS])
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    options = Options(class_names=("x", "y"), values=parse_values("0:1,1:0,2:ignore"))
    dataset = detection.read_dataset(str(tmp_path), options=options)
    assert dataset.class_names == ["x", "y"]
    assert np.array_equal(pixels(dataset)["images/0.jpg"], np.array([1, 0, 255], np.uint8)[IDS])


def test_rules_of_the_user_are_checked(tmp_path):
    write_pairs(tmp_path, [IDS])
    with pytest.raises(ValueError, match="--mask_values=1:5: the ids of the 2 classes are 0 to 1"):
        detection.read_dataset(str(tmp_path), options=Options(class_names=("x", "y"), values=parse_values("1:5")))


def test_files_of_names_lie_at_the_top(tmp_path):
    write_pairs(tmp_path, [IDS])
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/classes.txt").write_text("x\ny\nz")
    assert detection.read_dataset(str(tmp_path)).class_names == ["class_0", "class_1", "class_2"]


def test_symbolic_links_do_not_lead_out_of_the_folder(tmp_path):
    write_pairs(tmp_path / "data", [IDS])
    (tmp_path / "data/masks/0.png").rename(tmp_path / "0.png")
    (tmp_path / "data/masks/0.png").symlink_to(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"`images/0.jpg`: .*masks/0.png .*is outside of"):
        detection.read_dataset(str(tmp_path / "data"))
    assert len(detection.read_dataset(str(tmp_path / "data"), options=Options(allow_outside=True)).images) == 1


# VOC


def make_objects(root, objects):
    for name, ids in objects.items():
        write_mask(root / "SegmentationObject" / f"{name}.png", ids, color_map().ravel())


def test_voc_lists(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    make_voc(root, {f"2007_00000{number}": (IDS, "palette") for number in range(3)})
    lists = root / "ImageSets" / "Segmentation"
    for name, numbers in (("train", (0, 2)), ("val", (1,)), ("trainval", (0, 1, 2))):
        (lists / f"{name}.txt").write_text("".join(f"2007_00000{number}\n" for number in numbers))
    dataset = detection.read_dataset(str(tmp_path))
    assert (dataset.format, dataset.kind) == ("voc", "semantic") and dataset.class_names[:3] == [
        "background",
        "aeroplane",
        "bicycle",
    ]
    start = "VOCdevkit/VOC2012/JPEGImages/2007_00000"
    assert [(image.name, image.split) for image in dataset.images] == [
        (f"{start}0.jpg", "train"), (f"{start}2.jpg", "train"), (f"{start}1.jpg", "val"),
    ]  # fmt: skip
    assert dataset.notes == ("the lists train, val are used, trainval are not",)
    assert dataset.num_images == 3 and np.array_equal(pixels(dataset)[f"{start}0.jpg"], IDS)


def test_voc_with_one_list_has_no_splits(tmp_path):
    make_voc(tmp_path, {"2007_000001": (IDS, "grey")})
    (tmp_path / "ImageSets/Segmentation/train.txt").rename(tmp_path / "ImageSets/Segmentation/default.txt")
    (tmp_path / "labelmap.txt").write_text("# CVAT\nsky:0,0,0::\nroad:128,0,0::\ncar:0,128,0::\n")
    dataset = detection.read_dataset(str(tmp_path))
    assert [image.split for image in dataset.images] == [""] and dataset.class_names == ["sky", "road", "car"]


def test_voc_without_lists(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette"), "b": (IDS, "palette")})
    (tmp_path / "ImageSets/Segmentation/train.txt").unlink()
    (tmp_path / "SegmentationClass/b.png").rename(tmp_path / "SegmentationClass/c.png")
    dataset = detection.read_dataset(str(tmp_path))
    assert [image.name for image in dataset.images] == ["JPEGImages/a.jpg"] and dataset.num_images == 2
    assert kinds(dataset.findings) == {"image_without_labels": 1, "labels_without_image": 1}
    assert dataset.class_names == ["class_0", "class_1", "class_2"]


def test_voc_objects_without_lists(tmp_path):
    make_voc(tmp_path, {name: (IDS, "palette") for name in "abc"})
    (tmp_path / "ImageSets/Segmentation/train.txt").unlink()
    make_objects(tmp_path, {"a": IDS, "b": IDS})
    for name in "bc":
        write_image(tmp_path / "JPEGImages" / f"{name}2.jpg")
    dataset = detection.read_dataset(str(tmp_path), options=Options(kind="instances"))
    assert [image.name for image in dataset.images] == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"] and dataset.num_images == 5
    assert [finding.where for finding in dataset.findings] == [
        "JPEGImages/b2.jpg: SegmentationClass/b2.png does not exist",
        "JPEGImages/c.jpg: SegmentationObject/c.png does not exist",
        "JPEGImages/c2.jpg: SegmentationClass/c2.png does not exist",
        "SegmentationClass/c.png",
    ]
    assert len(shapes(dataset)["JPEGImages/b.jpg"]) == 2
    semantic = detection.read_dataset(str(tmp_path))
    assert len(semantic.images) == 3 and semantic.num_images == 5


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"a": ["a"], "b": ["a"]}, r"has the lists a, b; rename one to train and one to val"),
        ({"train": ["a"], "val": ["a"]}, r"`a` is in the lists train and val; remove it from one"),
        ({"train": ["a", "none"]}, r"there is no image .*none"),
    ],
)
def test_voc_lists_that_are_not_clear(tmp_path, lists, message):
    make_voc(tmp_path, {"a": (IDS, "palette")})
    folder = tmp_path / "ImageSets/Segmentation"
    (folder / "train.txt").unlink()
    for name, rows in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(rows))
    with pytest.raises(ValueError, match=message):
        detection.read_dataset(str(tmp_path))


def test_two_voc_folders(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make_voc(tmp_path / year, {"a": (IDS, "palette")})
    with pytest.raises(ValueError, match="contains 2 VOC folders: VOC2007, VOC2012; give one of them"):
        detection.read_dataset(str(tmp_path))
    with pytest.raises(ValueError, match="has no JPEGImages"):
        detection.read_dataset(str(tmp_path / "VOC2007" / "ImageSets"), "voc")


def test_voc_objects(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette")})
    objects = 3 * rectangle((1, 5), (2, 7)) + 4 * rectangle((5, 7), (6, 11))
    objects[5, 6] = 255
    make_objects(tmp_path, {"a": objects})
    options = Options(kind="instances", class_names=("background", "car", "cat"))
    dataset = detection.read_dataset(str(tmp_path), options=options)
    assert [(one.id, one.name) for one in dataset.categories] == [(1, "car"), (2, "cat")]
    # In IDS, the second object is of class 1: it has class 2 in no pixel.
    assert same_shapes(shapes(dataset)["JPEGImages/a.jpg"], [("car", objects == 3), ("car", objects == 4)])


def test_voc_without_objects_offers_classes_only(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette")})
    with pytest.raises(ValueError, match="has no labels for --task=instances; it has labels for semantic"):
        detection.read_dataset(str(tmp_path), options=Options(kind="instances"))


def test_voc_masks_of_two_sizes(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette")})
    make_objects(tmp_path, {"a": IDS[:5]})
    dataset = detection.read_dataset(str(tmp_path), options=Options(kind="instances"))
    with pytest.raises(ValueError, match=r"SegmentationObject/a.png is 12x5 pixels, but .*SegmentationClass/a.png is 12x8"):
        shapes(dataset)


def test_the_masks_say_which_pixels_of_a_turned_image_are_meant(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette")})
    make_objects(tmp_path, {"a": IDS})
    write_image(tmp_path / "JPEGImages" / "a.jpg", 8, 12, orientation=6)  # Upright it is 12 wide and 8 high.
    for kind in ("instances", "semantic"):
        dataset = detection.read_dataset(str(tmp_path), options=Options(kind=kind))
        assert (shapes if kind == "instances" else pixels)(dataset)

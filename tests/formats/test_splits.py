"""Splits: what belongs together, the shares of the classes, and lists that people can edit."""

import collections
import dataclasses

import numpy as np
import pytest

from tpuseg.data.examples import Category
from tpuseg.formats import equal_files, groups, splits, stratification
from tpuseg.formats.dataset import Dataset, LabelledFile, LabelledObjects
from tpuseg.formats.splits import Options
from tpuseg.formats.stratification import Unit


def dataset(names, given=None):
    images = tuple(LabelledFile(f"/d/{name}", name, name, LabelledObjects([]), (given or {}).get(name, "")) for name in names)
    return Dataset("toy", "instances", "here", tuple(Category(number, f"c{number}") for number in range(9)), images)


def sides(found):
    return {image.name: image.split for image in found.images}


def frames(*videos, step=30, count=10):
    return [f"{video}_{step * number:05d}.jpg" for video in videos for number in range(count)]


# Groups


def test_frames_of_videos():
    names = frames("a/day", "a/night", "b/day")
    found = groups.find_groups([*names, "other.jpg"])
    assert [key.partition("_")[0] for key in found.keys[:30]] == ["a/day"] * 10 + ["a/night"] * 10 + ["b/day"] * 10
    assert (
        found.keys[30] == "other" and found.note == "30 images are frames of 3 videos according to their numbers, such as a/day_*"
    )


@pytest.mark.parametrize(
    "names",
    [
        frames("a", "b"),  # Two runs are too few to split by.
        [f"{year}_{number * number % 997:06d}.jpg" for year in (2007, 2008, 2009) for number in range(40)],  # VOC: no common step.
        [*frames("a", "b", "c", count=3), *(f"x{letter}.jpg" for letter in "abcdefghij")],  # Most images are in no run.
        [f"{letter}.jpg" for letter in "abcdef"],
    ],
)
def test_names_that_are_no_frames(names):
    found = groups.find_groups(names)
    assert len(set(found.keys)) == len(names) and not found.note


def test_one_running_number_is_said():
    found = groups.find_groups(frames("a"))
    assert len(set(found.keys)) == 10 and found.note.startswith("the names are consecutively numbered")


def test_frames_with_gaps():
    numbers = [1, 2, 3, 5, 6, 7, 8, 20, 21, 22, 23]
    assert len(set(groups.find_groups([f"{video}{number}.png" for video in "abc" for number in numbers]).keys)) == 3


def test_versions_of_one_image():
    digest = "0123456789abcdef0123456789abcdef"
    names = [f"train/dog_jpg.rf.{digest}.jpg", f"train/dog_jpg.rf.{digest[::-1]}.jpg", f"train/cat_png.rf.{digest}.jpg"]
    found = groups.find_groups(names)
    assert found.keys == ["train/dog", "train/dog", "train/cat"] and found.note == "1 images are versions of others (.rf.)"


def test_groups_by_an_expression():
    found = groups.group_by_pattern(["a1_x.jpg", "a2_x.jpg", "b1_y.jpg", "none"], r"^([ab])\d_(.)")
    assert found.keys[0] == found.keys[1] != found.keys[2] != found.keys[3]
    assert found.note.endswith("finds 2 groups in the images' names; 1 images do not match, and each is a group of its own")
    assert groups.group_by_pattern(["a1", "a2", "b3"], "[ab]").keys[:2] == groups.group_by_pattern(["a9", "a7"], "[ab]").keys
    with pytest.raises(ValueError, match=r"--group_by=\( is not a regular expression"):
        groups.group_by_pattern(["a"], "(")
    with pytest.raises(ValueError, match="--group_by=x matches none of the images' names, such as a"):
        groups.group_by_pattern(["a"], "x")


# Stratification


def test_units():
    units, numbers = stratification.make_units(["a", "b", "a"], [{0}, {1}, {0, 1}])
    assert units == [Unit(2, {0: 2, 1: 1}), Unit(1, {1: 1})] and numbers == [0, 1, 0]


def test_two_images_of_a_class_are_on_both_sides():
    units = [Unit(1, {0: 1, number % 10 + 1: 1}) for number in range(20)]  # Ten classes with two images each.
    chosen = stratification.choose(units, 0.2, 0)
    assert [chosen[number] + chosen[number + 10] for number in range(10)] == [1] * 10


def test_shares():
    random = np.random.default_rng(3)
    classes = [frozenset(random.integers(0, 12, 3).tolist()) for _ in range(600)]
    units, _ = stratification.make_units([str(number) for number in range(600)], classes)
    chosen = stratification.choose(units, 0.25, 1)
    assert 0.23 < chosen.mean() < 0.27
    for name in range(12):
        holds = np.array([name in found for found in classes])
        assert 0.22 < chosen[holds].mean() < 0.28, name


def test_large_groups_do_not_swallow_validation():
    units = [Unit(50, {0: 50})] + [Unit(5, {0: 5}) for _ in range(10)]
    chosen = stratification.choose(units, 0.2, 0)
    assert not chosen[0] and 15 <= sum(unit.size for unit, one in zip(units, chosen, strict=True) if one) <= 25


def test_images_without_classes_are_shared_too():
    chosen = stratification.choose([Unit(1, {})] * 10, 0.3, 0)
    assert chosen.sum() == 3


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_no_side_is_empty(share):
    assert 0 < stratification.choose([Unit(1, {})] * 5, share, 0).sum() < 5


def test_a_class_that_lacks_on_a_side_is_moved_there():
    units = [Unit(1, {0: 1}), Unit(1, {0: 1}), Unit(3, {0: 3, 1: 3}), Unit(1, {1: 1})]
    chosen = np.array([False, True, False, False])
    assert stratification.find_one_sided(units, chosen) == [(1, True)]
    holders = {0: [0, 1, 2], 1: [2, 3]}
    stratification._repair(units, holders, chosen)
    assert chosen.tolist() == [False, True, False, True]  # The smaller one of two.


def test_what_cannot_be_on_both_sides_is_told():
    # Both units of class 1 have the only other class: moving one takes class 0 from its side.
    units = [Unit(1, {0: 1, 1: 1}), Unit(1, {1: 1, 2: 1}), Unit(1, {2: 1, 0: 1})]
    chosen = stratification.choose(units, 0.5, 0)
    assert len(stratification.find_one_sided(units, chosen)) <= 1


# Data sets


def test_a_split_is_the_same_for_every_order():
    names = [f"{letter}.jpg" for letter in "abcdefghijklmnop"]
    classes = {name: {ord(name[0]) % 3} for name in names}
    found = sides(splits.split(dataset(names), Options(), [classes[name] for name in names]))
    backwards = names[::-1]
    assert found == sides(splits.split(dataset(backwards), Options(), [classes[name] for name in backwards]))
    other = sides(splits.split(dataset(names), Options(seed=1), [classes[name] for name in names]))
    assert found != other and collections.Counter(found.values()) == {"train": 13, "val": 3}


def test_the_splits_of_the_layout_are_kept():
    given = dataset(["a", "b", "c"], {"a": "train", "b": "val"})
    found = splits.split(given, Options(), [set()] * 3)
    assert sides(found) == {"a": "train", "b": "val", "c": "train"} and found.notes == (
        "1 images without a split are for training",
    )
    assert splits.split(found, Options(), [set()] * 3) is found


def test_test_images_stay_test_images():
    found = splits.split(dataset(list("abcdefghij"), {"a": "test", "b": "train"}), Options(val_share=0.4), [set()] * 10)
    assert sides(found)["a"] == "test" and collections.Counter(sides(found).values()) == {"test": 1, "train": 5, "val": 4}


def test_frames_of_a_video_stay_together_and_that_is_said():
    names = frames("a", "b", "c", "d", "e")
    found = splits.split(dataset(names), Options(), [{0, 1}] * 50)
    by_video = collections.defaultdict(set)
    for name, side in sides(found).items():
        by_video[name[0]].add(side)
    assert all(len(found) == 1 for found in by_video.values()) and len([1 for found in by_video.values() if found == {"val"}]) == 1
    assert found.notes[0] == "40 images are for training and 10 for validation (--val_share=0.2 --seed=0)"
    assert found.notes[1].startswith("50 images are frames of 5 videos") and "--group_by" in found.notes[1]
    alone = splits.split(dataset(names), Options(group_by="(.*)"), [{0, 1}] * 50)
    assert len({sides(alone)[name] for name in names[:10]} | {sides(alone)[name] for name in names[10:20]}) == 2


def test_one_video_is_not_kept_together_and_that_is_said():
    found = splits.split(dataset(frames("a")), Options(), [{0}] * 10)
    assert found.notes[1].endswith("neighbouring frames are in both splits; --group_by= keeps groups of images in the same split")


def test_names_by_class_are_no_videos():
    names = frames("cat", "dog", "cow", step=1)
    found = splits.split(dataset(names), Options(), [{number // 10} for number in range(30)])
    assert {(name[:3], side) for name, side in sides(found).items()} == {
        (name, side) for name in ("cat", "dog", "cow") for side in ("train", "val")
    }
    assert len(found.notes) == 1


def test_classes_that_a_side_lacks_are_named():
    classes = [{0}, {0}, {0}, {0, 3}]
    found = splits.split(dataset(list("abcd")), Options(), classes)
    assert found.notes[1] == "classes that occur in one image only, so they are missing in one split: c3"


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a"], Options(), "here has 1 image to split into train and val; it needs two"),
        (["a1", "a2"], Options(group_by="a"), "here has 1 group of images to split"),
        (["a", "b"], Options(val_share=0.0), "--val_share=0 must be above 0 and below 1"),
        (["a", "b"], Options(val_share=1.0), "--val_share=1 must be"),
    ],
)
def test_what_cannot_be_split(names, options, message):
    with pytest.raises(ValueError, match=message):
        splits.split(dataset(names), options, [set()] * len(names))


# Lists


def test_lists_can_be_edited_and_read_back(tmp_path):
    given = dataset(
        ["a.jpg", "b/c d.jpg", "#e.jpg", "f.jpg"], {"a.jpg": "train", "b/c d.jpg": "val", "#e.jpg": "train", "f.jpg": "train"}
    )
    assert splits.write_lists(given, str(tmp_path)) == [str(tmp_path / "train.txt"), str(tmp_path / "val.txt")]
    assert (tmp_path / "train.txt").read_text().splitlines()[1:] == ["a.jpg", "./#e.jpg", "f.jpg"]
    assert sides(splits.read_lists(given, str(tmp_path))) == sides(given)
    (tmp_path / "train.txt").write_text("# mine\n\na.jpg\r\n")
    (tmp_path / "test.txt").write_text("#e.jpg\n./f.jpg\n")
    found = splits.read_lists(dataset([image.name for image in given.images]), str(tmp_path))
    assert sides(found) == {"a.jpg": "train", "b/c d.jpg": "val", "f.jpg": "test"}
    assert found.notes == (f"the lists in {tmp_path} define the splits", "1 images are in no list and left out")


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ("a.jpg\nx.jpg", "b.jpg", r"train.txt, line 2: `x.jpg` is not an image of here"),
        ("a.jpg", "\n./a.jpg", r"val.txt, line 2: `a.jpg` is listed already in .*train.txt, line 1;"),
        ("# nothing", "b.jpg", "train.txt names no image"),
        ("a.jpg", None, "there is no list of images .*val.txt"),
    ],
)
def test_damaged_lists(tmp_path, train, val, message):
    for name, text in (("train", train), ("val", val)):
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        splits.read_lists(dataset(["a.jpg", "b.jpg"]), str(tmp_path))


def test_a_line_break_in_a_name(tmp_path):
    given = dataset(["a\nb.jpg"], {"a\nb.jpg": "train"})
    with pytest.raises(ValueError, match="has a line break in its name"):
        splits.write_lists(given, str(tmp_path))
    assert dataclasses.replace(given, images=()).splits == []


# Copies


def test_copies_are_in_the_same_split(tmp_path):
    """b and e have the bytes of a; d has only their number."""
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"other"), ("d", b"two"), ("e", b"one")):
        (tmp_path / f"{name}.jpg").write_bytes(content)
    paths = [str(tmp_path / f"{name}.jpg") for name in ("a", "b", "c", "missing", "d", "e")]
    assert equal_files.find_equal_files(paths) == [[0, 1, 5]]
    images = tuple(LabelledFile(path, path[-5:], path, LabelledObjects([])) for path in paths if "missing" not in path)
    for seed in range(8):
        found = splits.split(Dataset("toy", "instances", "here", (), images), Options(0.4, seed), [frozenset()] * 5)
        assert len({sides(found)[name] for name in ("a.jpg", "b.jpg", "e.jpg")}) == 1
    assert "2 images are copies of others, byte for byte" in found.notes[-1]


def test_groups_with_copies_of_one_image_are_joined():
    joined = groups.join(groups.Groups(list("aabbccd"), "three videos"), [[0, 2], [3, 5]])
    assert len(set(joined.keys[:6])) == 1 and joined.keys[6] not in joined.keys[:6]
    assert joined.note.startswith("three videos; 2 images are copies of others")
    alone = groups.Groups(list("ab"), "x")
    assert groups.join(alone, []) == alone

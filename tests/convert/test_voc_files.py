"""Lists and folders of VOC's layout: what leads out of them, what is called otherwise, and what the masks cannot mean."""

import json

import numpy as np
import PIL.Image
import pytest
from voc_folder import make_voc

from tpuseg.convert import mask_values, voc, voc_instances
from tpuseg.convert.voc_files import Layout
from tpuseg.data import records, semantic_records

IDS = np.array([[0, 1], [2, 255]], np.uint8).repeat(4, 0).repeat(4, 1)


def convert(root, split="train", names=("background", "road", "car"), **options):
    return voc.convert_voc(str(root), split, str(root / "out"), class_names=names, num_shards=1, **options)


def write_list(root, *names):
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def root(tmp_path):
    """A data set in a folder, with another one beside it whose files nobody has named."""
    for name in ("mine", "theirs"):
        make_voc(tmp_path / name, {"a": (IDS, "ids"), "b": (IDS, "ids")})
    return tmp_path / "mine"


@pytest.mark.parametrize("name", ["../../theirs/JPEGImages/a", "{theirs}/JPEGImages/a", "../JPEGImages/../../theirs/JPEGImages/a"])
def test_names_that_lead_out_of_the_folder(name, root):
    write_list(root, "a", name.format(theirs=root.parent / "theirs"))
    with pytest.raises(ValueError, match=r"train.txt, line 2: `.*`: .*theirs/JPEGImages/a.* is outside of .*--allow_outside"):
        convert(root)
    assert not (root / "out").exists()


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass"])
@pytest.mark.parametrize("whole", [False, True])
def test_symbolic_links_that_lead_out_of_the_folder(folder, whole, root):
    (path,) = list((root / folder).glob("b.*"))
    other = root.parent / "theirs" / folder
    if whole:
        (root / folder).rename(root / "before")
        (root / folder).symlink_to(other)
    else:
        path.unlink()
        path.symlink_to(other / path.name)
    with pytest.raises(ValueError, match=r"train.txt, line \d: `[ab]`: .* \(it leads to .*theirs.*\) is outside of"):
        convert(root)
    assert convert(root, layout=Layout(allow_outside=True))["num_examples"] == 2


def test_links_inside_of_the_folder_and_to_it(root):
    path = root / "JPEGImages/b.jpg"
    path.unlink()
    path.symlink_to(root / "JPEGImages/a.jpg")
    (root.parent / "link").symlink_to(root)
    assert convert(root)["num_examples"] == convert(root.parent / "link")["num_examples"] == 2


def test_a_folder_of_masks_that_the_user_names_may_lie_anywhere(root):
    for mask_dir in (str(root.parent / "theirs/SegmentationClass"), "../theirs/SegmentationClass"):
        assert convert(root, layout=Layout(mask_dir))["num_examples"] == 2


def test_masks_of_objects_cannot_lead_out_either(root):
    (root / "SegmentationObject").mkdir()
    for name in "ab":
        PIL.Image.fromarray(np.minimum(IDS, 2)).save(root / f"SegmentationObject/{name}.png")
    names = ["background", "road", "car"]
    done = voc_instances.convert_voc_instances(str(root), "train", str(root / "out"), class_names=names, num_shards=1)
    assert done["num_objects"] == 4
    (root / "SegmentationObject/b.png").unlink()
    (root / "SegmentationObject/b.png").symlink_to(root / "SegmentationClass/../../theirs/SegmentationClass/b.png")
    with pytest.raises(ValueError, match="line 2: `b`: .*SegmentationObject/b.png .* is outside of"):
        voc_instances.convert_voc_instances(str(root), "train", str(root / "out"), class_names=names, num_shards=1)


@pytest.mark.parametrize("split", ["../x", "/tmp/x", "a/b", ".."])
def test_a_split_that_would_be_written_elsewhere(split, root):
    with pytest.raises(ValueError, match="--split=.* must be a name"):
        convert(root, split)


def test_lists_in_other_encodings(root):
    path = root / "ImageSets/Segmentation/train.txt"
    path.write_bytes("a\r\n\r\nb\r\n".encode("utf-16"))
    assert convert(root)["num_examples"] == 2
    for raw, said in (("a\nGröße\n".encode("latin-1"), "line 2: is not text in UTF-8"), (b"a\nb\0\n", r"line 2: .* U\+0000")):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=f"train.txt, {said}"):
            convert(root)
    path.write_bytes("\ufeff\n\n".encode())
    with pytest.raises(ValueError, match="train.txt is empty"):
        convert(root)


def test_names_with_suffixes_and_folders(root):
    write_list(root, "aachen/x", "aachen/y")
    for folder, kind in (("JPEGImages", "_leftImg8bit.png"), ("SegmentationClass", "_gtFine_labelTrainIds.png")):
        (root / folder / "aachen").mkdir()
        for name in "xy":
            PIL.Image.fromarray(IDS).save(root / folder / "aachen" / f"{name}{kind}")
    with pytest.raises(ValueError, match="no image .*aachen/x .*; there is x_leftImg8bit.png: use --image_suffix=_leftImg8bit"):
        convert(root)
    with pytest.raises(ValueError, match="there is x_gtFine_labelTrainIds.png: use --mask_suffix=_gtFine_labelTrainIds"):
        convert(root, layout=Layout(image_suffix="_leftImg8bit"))
    summary = convert(root, layout=Layout(image_suffix="_leftImg8bit", mask_suffix="_gtFine_labelTrainIds"))
    assert summary["num_examples"] == 2
    write_list(root, "a.jpg")
    with pytest.raises(ValueError, match="the names in lists must not have extensions"):
        convert(root)


@pytest.fixture
def binary(tmp_path):
    """Masks of 0 and 255, as many programs write them."""
    make_voc(tmp_path, {name: (np.where(IDS == 255, 255, 0).astype(np.uint8), "ids") for name in "ab"})
    return tmp_path


def test_masks_of_0_and_255_are_refused_with_a_way_out(binary):
    with pytest.raises(ValueError, match="only `bg` and the ignore label 255, .* `crack`: .*--mask_values=255:1 if it is"):
        convert(binary, names=["bg", "crack"])
    assert list((binary / "out").iterdir()) == []
    summary = convert(binary, names=["bg", "crack"], values=mask_values.parse_values("255:1"))
    assert summary["pixels_per_class"] == {"bg": 96, "crack": 32} and summary["mask_values"]["mapped_values"] == {"255": 1}
    (record, _) = records.read_raw(str(binary / "out/train-00000-of-00001.tfrecord"))
    assert np.unique(semantic_records.decode_labels(semantic_records.parse_semantic(record)["labels"])).tolist() == [0, 1]
    meant = convert(binary, names=["bg", "crack"], values=mask_values.parse_values("255:ignore"))
    assert meant["pixels_per_class"] == {"bg": 96, "crack": 0}
    assert "warning: 1 of 2 classes has no pixels: `crack`" == voc.describe(meant).splitlines()[-1]


def test_a_class_without_a_pixel_is_said(binary):
    (binary / "SegmentationClass/a.png").unlink()
    PIL.Image.fromarray(np.where(IDS == 255, 255, 1).astype(np.uint8)).save(binary / "SegmentationClass/a.png")
    last = voc.describe(convert(binary, names=["bg", "road", "car"])).splitlines()[-1]
    assert last == "warning: 1 of 3 classes has no pixels: `car`; if the value 255 stands for one of them, use --mask_values=255:ID"


def test_masks_without_any_class(tmp_path):
    nothing = np.full((4, 4), 255, np.uint8)
    make_voc(tmp_path, {f"p{number}": (nothing if number < 2 else IDS, "ids") for number in range(4)})
    first = voc.describe(convert(tmp_path)).splitlines()[0]
    assert first == "warning: 2 of 4 images (50%) have no pixel of any class and teach nothing"
    write_list(tmp_path, "p0", "p1")
    before = (tmp_path / "out/train.json").read_text()
    for values in ("", "255:ignore"):
        with pytest.raises(ValueError, match="no pixel has a class: all 32 pixels are ignored"):
            convert(tmp_path, values=mask_values.parse_values(values))
    assert (tmp_path / "out/train.json").read_text() == before


def test_vocs_names_are_only_for_vocs_images(tmp_path):
    make_voc(tmp_path / "camvid", {"0001TP_006690": (IDS, "ids")})
    with pytest.raises(ValueError, match="--class_names is missing: .*camvid does not look like Pascal VOC, .* not 0001TP_006690"):
        convert(tmp_path / "camvid", names=())
    make_voc(tmp_path / "mine", {"2007_000032": (IDS, "ids")})
    assert convert(tmp_path / "mine", names=())["class_names"] == voc.VOC_CLASSES
    make_voc(tmp_path / "VOC2007", {"000032": (IDS, "ids")})
    assert convert(tmp_path / "VOC2007", names=())["class_names"] == voc.VOC_CLASSES


@pytest.mark.parametrize("value", [-1, 2, 256])
def test_an_ignore_label_out_of_range(value):
    with pytest.raises(ValueError, match=f"--ignore_label is {value}.* but must be 3 to 255, because masks have 8 bits"):
        voc.check_classes(["a", "b", "c"], value)


def test_numbers_of_classes():
    with pytest.raises(ValueError, match="there is one class, `lables`; masks need at least two"):
        voc.check_classes(["lables"], 255)
    with pytest.raises(ValueError, match=r"300 classes, but masks in records have 8 bits: at most 255 .* \*:ignore"):
        voc.check_classes([f"c{number}" for number in range(300)], 255)
    voc.check_classes([f"c{number}" for number in range(255)], 255)


def test_masks_read_by_their_colours_are_counted(tmp_path):
    colors = ((0, 0, 0), (250, 50, 83), (51, 221, 255))
    make_voc(tmp_path, {"a": (np.minimum(IDS, 2), "ids")})
    rgb = PIL.Image.fromarray(np.array(colors, np.uint8)[np.minimum(IDS, 2)])
    rgb.quantize(3).save(tmp_path / "SegmentationClass/a.png")
    summary = convert(tmp_path, class_colors=colors)
    assert list(summary["mask_notes"].values()) == [1] and "1 mask read by the colours" in voc.describe(summary)
    assert summary["pixels_per_class"] == {"background": 16, "road": 16, "car": 32}
    assert json.loads((tmp_path / "out/train.json").read_text()) == summary
    (tmp_path / "SegmentationObject").mkdir()
    PIL.Image.fromarray(np.minimum(IDS, 2)).save(tmp_path / "SegmentationObject/a.png")
    names = ["background", "road", "car"]
    done = voc_instances.convert_voc_instances(
        str(tmp_path), "train", str(tmp_path / "objects"), class_names=names, class_colors=colors, num_shards=1
    )
    assert done["findings"]["mask_by_color"]["count"] == 1
    assert [row["name"] for row in done["categories"]] == names[1:]


@pytest.mark.parametrize(
    ("orientation", "size", "kind"),
    [(6, (4, 8), "exif_not_applied"), (6, (8, 8), "exif_ambiguous"), (3, (4, 8), "exif_ambiguous"), (6, (8, 4), None)],
)
def test_the_size_of_a_mask_says_which_pixels_of_a_phone_photo_it_is_of(orientation, size, kind, tmp_path):
    mask = np.arange(size[0] * size[1]).reshape(size).astype(np.uint8) % 3
    make_voc(tmp_path, {"a": (mask, "ids")})
    stored = PIL.Image.new("RGB", (8, 8) if size == (8, 8) else (8, 4))
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "JPEGImages/a.jpg", exif=exif)
    summary = convert(tmp_path)
    assert summary["exif"] == ({kind: 1} if kind else {})
    assert ("their stored pixels are used" in voc.describe(summary)) == (kind == "exif_not_applied")
    if kind == "exif_ambiguous":
        (applied,) = records.read_raw(str(tmp_path / "out/train-00000-of-00001.tfrecord"))
        convert(tmp_path, exif="ignore")
        (ignored,) = records.read_raw(str(tmp_path / "out/train-00000-of-00001.tfrecord"))
        assert applied != ignored

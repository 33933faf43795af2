"""Which images a flag names, in which order, and the names of their results."""

import os

import pytest

from tpuseg.io import image_paths


def test_frames_come_as_people_count(tmp_path):
    for name in ("frame_10.png", "frame_2.png", "frame_1.JPG", "notes.txt", "frame_02b.webp"):
        (tmp_path / name).write_bytes(b"")
    found = [os.path.basename(path) for path in image_paths.find(str(tmp_path))]
    assert found == ["frame_1.JPG", "frame_2.png", "frame_02b.webp", "frame_10.png"]
    assert image_paths.find(str(tmp_path / "frame_1*")) == [str(tmp_path / "frame_1.JPG"), str(tmp_path / "frame_10.png")]


def test_no_image_is_said_with_the_flag(tmp_path):
    with pytest.raises(ValueError, match=r"--calibration=.* matches no image \(\.jpg"):
        image_paths.find(str(tmp_path), "--calibration")


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["x/a.jpg", "x/b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        # The whole name of one is another's without its ending.
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        # One and the same file to some file systems.
        (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
        (["cam1/0.jpg", "cam2/0.jpg"], ["cam1_0.jpg", "cam2_0.jpg"]),
        (["x/0.jpg", "x/0.jpg"], None),
    ],
)
def test_no_two_images_have_one_name(paths, wanted):
    found = image_paths.names(paths)
    assert len({name.casefold() for name in found}) == len(paths)
    assert not any("/" in name for name in found)
    if wanted:
        assert found == wanted


def test_names_that_no_file_system_takes(tmp_path):
    long = "a" * 244
    paths = [os.fsdecode(b"x/b\xff\xfe.jpg"), f"x/{long}.png", f"x/{long}b.png", "x/" + "\u00fc" * 120 + ".png", "x/c\\d.png"]
    found = image_paths.names(paths)
    assert len({name.casefold() for name in found}) == len(paths)
    assert found[0] == "b_xff_xfe" and found[4] == "d"
    for name in found:
        (tmp_path / f"{name}_overlay.png.jpg.1234567.tmp").write_bytes(b"")
    assert found == image_paths.names(paths)


def test_files_that_are_left_out_are_said(tmp_path):
    for name in ("a.jpg", "b.GIF", "c.avif", "d.jp2", "e.txt", "f", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert [os.path.basename(path) for path in image_paths.find(str(tmp_path))] == ["a.jpg", "b.GIF", "c.avif", "d.jp2"]
    told = image_paths.left_out(str(tmp_path))
    assert told.startswith(f"2 files of {tmp_path} left out") and ".txt, none" in told
    assert image_paths.left_out(str(tmp_path / "*")) == "" and image_paths.left_out(str(tmp_path / "folder")) == ""

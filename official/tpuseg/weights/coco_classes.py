"""COCO's categories: the 80 that have objects, under ids up to 90 with gaps."""

from collections.abc import Sequence

# By id, from 1; None where the data set has no such category.
BY_ID: tuple[str | None, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", None, "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep"),
    *("cow", "elephant", "bear", "zebra", "giraffe", None, "backpack", "umbrella", None, None),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
    *("skateboard", "surfboard", "tennis racket", "bottle", None, "wine glass", "cup", "fork", "knife", "spoon"),
    *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut"),
    *("cake", "chair", "couch", "potted plant", "bed", None, "dining table", None, None, "toilet"),
    *(None, "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster"),
    *("sink", "refrigerator", None, "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)


def names_of(num_rows: int) -> list[str | None] | None:
    """Returns the classes of a classifier by its size: one row an id, or one a category; None if it is not COCO's."""
    if num_rows == len(BY_ID):
        return list(BY_ID)
    named: list[str | None] = [name for name in BY_ID if name is not None]
    return named if num_rows == len(named) else None


def ids_of(names: Sequence[str]) -> list[int]:
    """Returns COCO's ids of classes that are all its own; else numbers from 1."""
    if all(name in BY_ID for name in names):
        return [BY_ID.index(name) + 1 for name in names]
    return list(range(1, len(names) + 1))

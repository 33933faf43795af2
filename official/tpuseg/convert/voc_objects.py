"""One picture of a VOC folder, its classes and its objects into an example.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
import os

import numpy as np

from tpuseg import masks
from tpuseg.convert import objects, pictures
from tpuseg.convert.objects import Annotation, Converted, Finding
from tpuseg.instances import Category, Instance

# In SegmentationObject, 0 is background and 255 the border that nobody drew exactly.
_OBJECT_RULES = pictures.LabelRules(num_classes=255, ignore_label=255)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the masks may hold, and what it means.

    Attributes:
      class_names: in the order of the ids; the first is the background.
      labels: what the classes' masks may hold.
      object_folder: with the objects' masks, called like the classes' masks.
    """

    class_names: tuple[str, ...]
    labels: pictures.LabelRules
    object_folder: str

    def categories(self) -> list[Category]:
        """Returns the kinds of objects: every class but the background, under its own id."""
        return [Category(number, name) for number, name in enumerate(self.class_names) if number]


def convert(files: pictures.Files, rules: Rules) -> Converted:
    """Makes the objects of a picture.

    Args:
      files: where picture and classes are.
      rules: what the classes' mask may hold, and where the objects are.

    Raises:
      ValueError: a file is missing or broken, the sizes differ, or a mask has other values; names the file.
    """
    objects_path = os.path.join(rules.object_folder, os.path.basename(files.mask))
    classes = pictures.read_labels(files.mask, rules.labels)
    image = pictures.read_image(files.image, annotated_size=(classes.shape[0], classes.shape[1]))
    size = (image.height, image.width)
    numbers = pictures.read_labels(objects_path, _OBJECT_RULES)
    for path, labels in ((files.mask, classes), (objects_path, numbers)):
        if labels.shape != size:
            raise ValueError(f"{path} is {labels.shape[1]}x{labels.shape[0]} pixels, the picture {files.image} {size[1]}x{size[0]}")
    findings: list[Finding] = []
    instances: list[Instance] = []
    for number in np.unique(numbers[(numbers > 0) & (numbers < 255)]).tolist():
        votes = np.bincount(classes[numbers == number], minlength=256)
        votes[0] = votes[rules.labels.ignore_label] = 0
        if not votes.any():
            findings.append(Finding("object_without_class", f"{objects_path}: object {number}"))
            continue
        made = _instance(numbers == number, int(votes.argmax()), rules)
        instances += [made] if made else []
    example = objects.example(image, files.name, os.path.basename(files.image), instances)
    return Converted(example, findings, image.reencoded)


def _instance(mask: np.ndarray, class_id: int, rules: Rules) -> Instance | None:
    runs = masks.encode(mask)
    y0, x0, y1, x1 = masks.bounding_box(runs).tolist()
    annotation = Annotation(
        name="",
        category=Category(class_id, rules.class_names[class_id]),
        class_index=class_id - 1,
        is_crowd=False,
        box=(x0, y0, x1 - x0, y1 - y0),
        area=float(masks.area(runs)),
        segmentation=runs,
    )
    return objects.instance(annotation, (mask.shape[0], mask.shape[1]), [])

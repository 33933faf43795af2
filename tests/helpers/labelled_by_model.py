"""Records whose labels come from what a model predicts, so that scores are high and every error moves them."""

import numpy as np
import PIL.Image

from tpuseg.convert.images import png
from tpuseg.convert.objects import Annotation, instance
from tpuseg.data import instance_records, semantic_records
from tpuseg.data.examples import Category, InstanceExample, SemanticExample
from tpuseg.inference import predictors
from tpuseg.ops import masks


def write_semantic(model: predictors.Predictor, image: np.ndarray, number: int) -> bytes:
    labels = model(image)
    labels[: len(labels) // 2, : labels.shape[1] // 2] = 0
    mask = png(PIL.Image.fromarray(labels))
    return semantic_records.encode_semantic(
        SemanticExample(png(PIL.Image.fromarray(image)), "png", *image.shape[:2], str(number), str(number), mask)
    )


def write_instances(model: predictors.Predictor, image: np.ndarray, number: int) -> bytes:
    found, objects, size = model(image), [], image.shape[:2]
    for place, runs in list(enumerate(found.runs()))[::2]:
        label = int(found.classes[place])
        category = Category(label + 1, model.class_names[label])
        objects.append(instance(Annotation("", category, label, False, masks.bounding_box(runs).tolist(), None, runs), size, []))
    assert len(objects) > 3
    example = InstanceExample(png(PIL.Image.fromarray(image)), "png", *size, str(number), str(number), objects)
    return instance_records.encode_instances(example)


WRITERS = {"deeplab": write_semantic, "maskrcnn": write_instances}

"""The experiment of a data set: which rules apply, and the YAML file with the reason of every value."""

from collections.abc import Sequence
from typing import Any

import yaml

from tpuseg.configs import schema
from tpuseg.formats.dataset import INSTANCES, TRAIN
from tpuseg.planning import anchor_recall, rules
from tpuseg.planning.fingerprint import Fingerprint
from tpuseg.planning.rules import Choice

# Longer lines have their reason above them.
_LINE = 110


def choose(
    fingerprint: Fingerprint, base: schema.ExperimentConfig, level: rules.Level, device: rules.Device, memory: int
) -> list[Choice]:
    """Applies the rules.

    Args:
      fingerprint: The content of the data set.
      base: The experiment of the level.
      level: How much computation the experiment may need.
      device: The machine for which the experiment is planned.
      memory: Memory of this computer in bytes; 0 if it is not known.

    Returns:
      The values of the experiment that differ from the extended one.
    """
    num_images = fingerprint.num_images()
    choices = [*rules.num_classes(fingerprint.class_names), *rules.num_channels(fingerprint.num_channels)]
    is_instances = fingerprint.kind == INSTANCES
    choices += _of_instances(fingerprint, base, level) if is_instances else _of_pixels(fingerprint, base, level)
    base_batch = base.task.train_data.global_batch_size
    choices += rules.batch(num_images, base_batch, schema.look_up(base, rules.RATE), device)
    batch_size = value(choices, "task.train_data.global_batch_size", base_batch)
    if is_instances and base.task.model.norm.mode != "frozen":
        choices += rules.norm(batch_size // device.num_replicas)
    choices += rules.precision(device)
    choices += rules.steps(num_images, base, batch_size, device)
    return choices + rules.cache(sum(fingerprint.num_bytes.values()), memory)


def value(choices: Sequence[Choice], path: str, default: Any) -> Any:
    """Returns the chosen value of a key, or the default."""
    return next((choice.value for choice in choices if choice.path == path), default)


def anchor_recalls(fingerprint: Fingerprint, config: schema.ExperimentConfig) -> dict[float, float]:
    """Returns the share of objects that have an anchor with an IoU of 0.5 and more, and of 0.7 and more, in an experiment."""
    model: Any = config.task.model
    boxes = anchor_recall.on_canvas(fingerprint.boxes, fingerprint.image_sizes_of_boxes, model.input_size)
    return {iou: anchor_recall.recall(boxes, model.input_size, model.rpn.anchors, iou) for iou in (0.5, 0.7)}


def _of_instances(fingerprint: Fingerprint, base: Any, level: rules.Level) -> list[Choice]:
    boxes, of_boxes = fingerprint.boxes, fingerprint.image_sizes_of_boxes
    model = base.task.model
    choices = rules.instance_canvas(boxes, fingerprint.image_sizes, of_boxes, max(model.input_size), level.longest_side)
    canvas = value(choices, "task.model.input_size", model.input_size)
    placed = anchor_recall.on_canvas(boxes, of_boxes, canvas)
    choices += rules.anchors(placed, canvas, model.rpn.anchors)
    choices += rules.most_instances([len(image.boxes) for image in fingerprint.images], fingerprint.most_crowds, base.task)
    return choices + rules.instance_scales(placed, base.task.train_data.scale_min)


def _of_pixels(fingerprint: Fingerprint, base: Any, level: rules.Level) -> list[Choice]:
    scales = (base.task.train_data.scale_min, base.task.train_data.scale_max)
    choices = rules.semantic_canvas(fingerprint.image_sizes, scales, level.most_pixels)
    pixels = fingerprint.pixels_per_class(TRAIN)[: len(fingerprint.class_names)]
    return choices + rules.class_weights(pixels.tolist(), fingerprint.class_names)


def render(heading: Sequence[str], extends: tuple[str, str], choices: Sequence[Choice]) -> str:
    """Returns the YAML text of an experiment, with the reason behind or above every value.

    Args:
      heading: lines of the comment at its beginning.
      extends: the experiment to extend, and the reason.
      choices: values by dotted keys.
    """
    tree: dict[str, Any] = {}
    for choice in choices:
        *sections, key = choice.path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = choice
    lines = [f"# {_in_one_line(line)}".rstrip() for line in heading]
    lines += _leaf("extends", Choice("extends", *extends), "")
    return "\n".join([*lines, *_lines(tree, "")]) + "\n"


def _lines(tree: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, entry in tree.items():
        if isinstance(entry, Choice):
            lines += _leaf(key, entry, indent)
        else:
            lines += [f"{indent}{key}:", *_lines(entry, indent + "  ")]
    return lines


def _leaf(key: str, choice: Choice, indent: str) -> list[str]:
    dumped = yaml.safe_dump(choice.value, default_flow_style=True, width=10**6, allow_unicode=True)
    text = f"{indent}{key}: {dumped.removesuffix('...' + chr(10)).strip()}"
    reason = _in_one_line(choice.reason)
    if not reason:
        return [text]
    return [f"{text}  # {reason}"] if len(text) + len(reason) + 4 <= _LINE else [f"{indent}# {reason}", text]


def _in_one_line(text: str) -> str:
    """Returns a text without line breaks and other characters that could end a comment or cannot be in YAML."""
    return "".join(character if character.isprintable() else " " for character in text)

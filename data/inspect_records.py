"""Reads every record of a data set, and reports all faults and the statistics of its classes or objects.

python data/inspect_records.py --input='datasets/voc2012/train-*.tfrecord' --contact_sheet=train.png
"""

import collections
import functools
import itertools
import os
import sys
import typing

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli
from tpuseg.data import semantic_records
from tpuseg.io import path_patterns  # noqa: E402
from tpuseg.utils.messages import format_count  # noqa: E402

_INPUT = flags.DEFINE_string("input", None, "Pattern of the record files, in quotes.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Ids must be below it; by default the summary's.", lower_bound=1)
_IGNORE_LABEL = flags.DEFINE_integer("ignore_label", None, "Id of ignored pixels; by default that of the summary, or 255.")
_CONTACT_SHEET = flags.DEFINE_string("contact_sheet", "", "Path of a PNG with the first images and their masks.")
_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 24, "Number of images on the contact sheet.", lower_bound=1)
_COMPARE = flags.DEFINE_string(
    "compare",
    "auto",
    "Pattern of the records of other splits, which must not contain the same images; auto: those in the same folder; or none.",
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", os.cpu_count() or 1, "Number of processes.", lower_bound=1)


def main(argv: list[str]) -> int:
    """Inspects the files; returns 1 if there are faults."""
    cli.refuse_arguments(argv)
    cli.require(input=_INPUT.value)
    paths = path_patterns.find(_INPUT.value)
    if not paths:
        raise ValueError(f"--input={_INPUT.value} matches no file")
    import tqdm

    from tpuseg.data import duplicates, instance_records, records
    from tpuseg.utils import parallel

    summary = records.read_summary(_INPUT.value) or {}
    num_classes = _NUM_CLASSES.value or summary.get("num_classes")
    ignore_label = _ignore_label(summary)
    instances = summary.get("kind") == "instances" or instance_records.holds_instances(paths[0])
    if instances:
        inspect = functools.partial(instance_records.inspect_file, num_classes=num_classes)
    else:
        inspect = functools.partial(semantic_records.inspect_file, num_classes=num_classes, ignore_label=ignore_label)
    workers = min(_NUM_WORKERS.value, len(paths))
    done = parallel.map_in_processes(inspect, paths, workers)
    reports = list(tqdm.tqdm(done, total=len(paths), unit="file", disable=None))
    faults = [fault for report in reports for fault in report.faults]
    total = sum(report.num_records for report in reports)
    if summary and summary["num_examples"] != total:
        faults.append(f"the summary says {format_count(summary['num_examples'], 'record')}, the files have {total}")
    others = _other_files(paths)
    scanned = list(parallel.map_in_processes(duplicates.scan, [*paths, *others], _NUM_WORKERS.value))
    own, other = (list(itertools.chain.from_iterable(part)) for part in (scanned[: len(paths)], scanned[len(paths) :]))
    faults += duplicates.findings(own, other)
    if instances:
        _print_objects(reports)
    else:
        _print_statistics(reports, summary.get("class_names", []), ignore_label)
        faults += _about_classes(reports, summary, ignore_label)
    for fault in faults:
        print(fault)
    if others:
        print(f"compared with {format_count(len(other), 'record')} of other splits, such as {others[0]}")
    found = format_count(len(faults), "fault") if faults else "no faults"
    print(f"{format_count(total, 'record')} in {format_count(len(paths), 'file')}: {found}")
    if _CONTACT_SHEET.value:
        from tpuseg.visualization import drawing, record_drawing

        draw = (
            record_drawing.draw_instances
            if instances
            else functools.partial(
                record_drawing.draw_semantic, class_names=summary.get("class_names", []), ignore_label=ignore_label
            )
        )
        first = itertools.islice(itertools.chain.from_iterable(map(records.read_raw, paths)), _NUM_PICTURES.value)
        drawing.write_png(_CONTACT_SHEET.value, drawing.contact_sheet(list(draw(first))))
        print(f"contact sheet: {_CONTACT_SHEET.value}")
    return 1 if faults else 0


def _other_files(paths: list[str]) -> list[str]:
    """Returns the files of the splits that must not contain the same images."""
    from tpuseg.data import duplicates

    if _COMPARE.value == "auto":
        return duplicates.sibling_files(_INPUT.value, paths)
    found = [] if _COMPARE.value in ("", "none") else path_patterns.find(_COMPARE.value)
    if _COMPARE.value not in ("", "none") and not found:
        raise ValueError(f"--compare={_COMPARE.value} matches no file")
    return [path for path in found if path not in paths]


def _ignore_label(summary: dict[str, typing.Any]) -> int:
    """Returns the id of ignored pixels: that of the flag, of the summary, or 255."""
    label = summary.get("ignore_label", 255) if _IGNORE_LABEL.value is None else _IGNORE_LABEL.value
    if not 0 <= label <= 255:
        raise ValueError(f"--ignore_label is {label}, but must be 0 to 255, as masks in records hold 8 bits; it is usually 255")
    return label


def _about_classes(reports: list, summary: dict[str, typing.Any], ignore_label: int) -> list[str]:
    """Returns faults in the numbers of pixels of all classes; prints warnings."""
    from tpuseg.data import class_counts

    mapped = summary.get("mask_values", {}).get("mapped_values", {})
    pixels = sum(report.pixels for report in reports)
    faults, warnings = class_counts.findings(pixels, summary.get("class_names", []), ignore_label, mapped)
    for warning in warnings:
        print(f"warning: {warning}")
    return faults


def _print_statistics(reports: list, class_names: list[str], ignore_label: int) -> None:
    """Prints the number of pixels of each label value."""
    pixels = sum(report.pixels for report in reports)
    images = sum(report.images for report in reports)
    print(f"{'value':>5}  {'class':16} {'pixels':>14} {'share':>7}  images")
    for value in pixels.nonzero()[0]:
        name = "ignored" if value == ignore_label else (class_names[value] if value < len(class_names) else "")
        print(f"{value:5d}  {name:16} {pixels[value]:14,d} {pixels[value] / pixels.sum():7.2%}  {images[value]}")


def _print_objects(reports: list) -> None:
    """Prints the number of objects of each category, and their sizes."""
    objects = sum((report.objects for report in reports), collections.Counter())
    images = sum((report.images for report in reports), collections.Counter())
    total = max(sum(objects.values()), 1)
    width = max([len(name) for name in objects] + [8])
    print(f"{'category':{width}} {'objects':>10} {'share':>7}  images")
    for name, count in objects.most_common():
        print(f"{name:{width}} {count:10,d} {count / total:7.2%}  {images[name]}")
    sizes = [sum(report.sizes[place] for report in reports) for place in range(3)]
    print(
        f"{format_count(sum(sizes), 'object')}, at most {max(report.most_objects for report in reports)} an image: {sizes[0]} small"
        f" (below 32x32 pixels), {sizes[1]} medium, {sizes[2]} large (96x96 and more)"
    )
    crowds, empty = (sum(getattr(report, key) for report in reports) for key in ("num_crowds", "num_empty"))
    print(f"{format_count(crowds, 'ignored region')}; {format_count(empty, 'image')} without objects")


if __name__ == "__main__":
    cli.run(main)

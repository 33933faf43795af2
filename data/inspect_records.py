"""Reads every record of a data set and reports all that is wrong, with the statistics of its classes.

python data/inspect_records.py --input='datasets/voc2012/train-*.tfrecord' --contact_sheet=train.png
"""

import concurrent.futures
import functools
import glob
import itertools
import multiprocessing
import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_INPUT = flags.DEFINE_string("input", None, "Pattern of the record files, in quotes.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Allowed ids are below it; the summary's by default.", lower_bound=1)
_IGNORE_LABEL = flags.DEFINE_integer("ignore_label", 255, "Id of pixels that do not count.", 0, 255)
_CONTACT_SHEET = flags.DEFINE_string("contact_sheet", "", "PNG of the first pictures with their masks.")
_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 24, "On the contact sheet.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", os.cpu_count() or 1, "Processes.", lower_bound=1)


def main(argv: list[str]) -> int:
    """Inspects the files; returns 1 if anything is wrong with them."""
    cli.refuse_arguments(argv)
    cli.require(input=_INPUT.value)
    paths = sorted(glob.glob(_INPUT.value))
    if not paths:
        raise ValueError(f"--input={_INPUT.value} matches no file")
    import tqdm

    from tpuseg import records

    summary = records.read_summary(_INPUT.value) or {}
    num_classes = _NUM_CLASSES.value or summary.get("num_classes")
    inspect = functools.partial(records.inspect_file, num_classes=num_classes, ignore_label=_IGNORE_LABEL.value)
    workers = min(_NUM_WORKERS.value, len(paths))
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        reports = list(tqdm.tqdm(pool.map(inspect, paths), total=len(paths), unit="file", disable=None))
    faults = [fault for report in reports for fault in report.faults]
    total = sum(report.num_records for report in reports)
    if summary and summary["num_examples"] != total:
        faults.append(f"the summary says {summary['num_examples']} records, the files have {total}")
    _print_statistics(reports, summary.get("class_names", []))
    for fault in faults:
        print(fault)
    print(f"{total} records in {len(paths)} files: {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    if _CONTACT_SHEET.value:
        _draw(paths, summary.get("class_names", []))
    return 1 if faults else 0


def _print_statistics(reports: list, class_names: list[str]) -> None:
    """Prints how often each label value occurs."""
    pixels = sum(report.pixels for report in reports)
    pictures = sum(report.pictures for report in reports)
    print(f"{'value':>5}  {'class':16} {'pixels':>14} {'share':>7}  pictures")
    for value in pixels.nonzero()[0]:
        name = "ignored" if value == _IGNORE_LABEL.value else (class_names[value] if value < len(class_names) else "")
        print(f"{value:5d}  {name:16} {pixels[value]:14,d} {pixels[value] / pixels.sum():7.2%}  {pictures[value]}")


def _draw(paths: list[str], class_names: list[str]) -> None:
    """Writes the contact sheet; records that cannot be decoded are left out."""
    import numpy as np
    import tensorflow as tf

    from tpuseg import records, visualize

    pictures = []
    for record in itertools.islice(itertools.chain.from_iterable(map(records.read_raw, paths)), _NUM_PICTURES.value):
        if records.inspect_semantic(record, None, _IGNORE_LABEL.value)[1]:
            continue
        parsed = records.parse_semantic(tf.constant(record))
        image, labels = records.decode_image(parsed["image"]).numpy(), records.decode_labels(parsed["labels"]).numpy()
        strip = visualize.legend(labels, class_names, image.shape[1])
        pictures.append(np.concatenate([visualize.overlay(image, labels, _IGNORE_LABEL.value), strip]))
    visualize.write_png(_CONTACT_SHEET.value, visualize.contact_sheet(pictures))
    print(f"contact sheet: {_CONTACT_SHEET.value}")


if __name__ == "__main__":
    cli.run(main)

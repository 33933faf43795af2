"""A label format of another package: images beside `polygons.csv`, with lines such as `photo.jpg,car,10.5 20 40 20 40 60`.

python official/plan.py --data=MY_FOLDER --output=datasets/mine --import_module=examples.csv_format
"""

import csv

from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats import drawn, shapes
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, Dataset, LabelledFile, LabelledObjects, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format, register

_FILE = "polygons.csv"


@register
class CsvPolygons(Format):
    """One line for each polygon: file name, class, and x y of the corners in pixels."""

    name = "csv_polygons"
    layout = f"{_FILE} beside the images, with a line FILE,CLASS,X0 Y0 X1 Y1 ... for each polygon"

    def detect(self, listing: Listing) -> str:
        """See `Format`."""
        return f"{_FILE} is there" if listing.has(_FILE) else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """See `Format`."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        path = listing.path(_FILE)
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
        names = sorted({_fields(path, number, row)[1] for number, row in rows})
        categories = tuple(Category(number, name) for number, name in enumerate(names, start=1))
        objects: dict[str, list] = {image: [] for image in listing.images()}
        findings = []
        for number, row in rows:
            image, name, corners = _fields(path, number, row)
            if image not in objects:
                findings.append(Finding("image_missing", f"{path}, line {number}: there is no image {image}"))
                continue
            index = names.index(name)
            objects[image].append(shapes.outline(f"line {number}", categories[index], index, [corners]))
        images = tuple(LabelledFile(listing.path(image), image, image, LabelledObjects(found)) for image, found in objects.items())
        dataset = Dataset(self.name, INSTANCES, path, categories, images, tuple(findings), len(images), len(rows))
        return drawn.as_pixels(dataset, by_size=True) if kind == SEMANTIC else dataset


def _fields(path: str, number: int, row: list[str]) -> tuple[str, str, list[float]]:
    """Returns file name, class and corners of a line; raises ValueError that names it."""
    try:
        image, name, corners = row
        return image, name, [float(value) for value in corners.split()]
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: must be FILE,CLASS,X0 Y0 X1 Y1 ... ({error})") from error

"""LVIS: COCO's format with the URLs of the images instead of their names."""

import posixpath
import urllib.parse
from typing import Any

from tpuseg.formats import coco
from tpuseg.formats.listing import Listing

_KEYS = ("images", "annotations", "categories", "neg_category_ids")


class Lvis(coco.Coco):
    """The annotation files of LVIS, and the images of COCO in `train2017` and `val2017`."""

    name = "lvis"
    layout = "lvis_v1_train.json and lvis_v1_val.json, and COCO's folders train2017 and val2017"

    def detect(self, listing: Listing) -> str:
        """Looks for COCO's lists with LVIS's own entries."""
        files = self.annotation_files(listing)
        return f"{files[0]} has images, annotations, categories and neg_category_ids" if files else ""

    def annotation_files(self, listing: Listing) -> list[str]:
        """Returns the files to read."""
        return listing.json_with(_KEYS, ("segments_info",))

    def load(self, listing: Listing, part: coco.Part) -> dict[str, Any]:
        """Returns the contents of a file; the names of images are the folder and name in their URLs.

        The folder is needed because some images of LVIS's `val` are in `train2017`.
        """
        content = super().load(listing, part)
        rows = content.get("images")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and not row.get("file_name") and isinstance(row.get("coco_url"), str):
                address = urllib.parse.urlparse(row["coco_url"]).path
                row["file_name"] = posixpath.join(*address.split("/")[-2:])
        return content

"""LVIS: COCO's format, with the images' addresses instead of their names."""

import posixpath
import urllib.parse
from typing import Any

from tpuseg.formats import coco
from tpuseg.formats.listing import Listing

_KEYS = ("images", "annotations", "categories", "neg_category_ids")


class Lvis(coco.Coco):
    """Files of LVIS beside the images of COCO, which are in `train2017` and `val2017`."""

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
        """Returns the content of a file; images get the folder and name in their address, as LVIS's val has some of train2017."""
        content = super().load(listing, part)
        rows = content.get("images")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and not row.get("file_name") and isinstance(row.get("coco_url"), str):
                address = urllib.parse.urlparse(row["coco_url"]).path
                row["file_name"] = posixpath.join(*address.split("/")[-2:])
        return content

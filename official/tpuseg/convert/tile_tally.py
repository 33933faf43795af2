"""Counts of the windows that large images were cut into, for the summary and the output of the converters."""

import dataclasses
from typing import Any

from tpuseg.convert.objects import TileCounts
from tpuseg.data.tile_rules import TileRules
from tpuseg.utils.messages import format_count

KEY = "tiles"
_ADVICE = "use a larger --tile_size or a smaller --tile_min_visible"


class TileTally:
    """Collects the counts of windows."""

    def __init__(self, rules: TileRules) -> None:
        """Starts without windows; `rules` say how images are cut."""
        self._rules = rules
        self._counts = {"images": 0, "windows": 0, "cut_instances": 0, "ignored_instances": 0, "annotated_crowds": 0}

    def add(self, counts: TileCounts, is_written: bool) -> None:
        """Adds a window, or the counts of an image of which no window is written."""
        self._counts["images"] += counts.is_first
        self._counts["windows"] += is_written
        self._counts["cut_instances"] += counts.num_cut
        self._counts["ignored_instances"] += counts.num_ignored
        self._counts["annotated_crowds"] += counts.num_crowds

    def add_whole(self, num_crowds: int) -> None:
        """Adds an image that is not cut, with its number of ignored regions."""
        self._counts["annotated_crowds"] += num_crowds

    def summary(self, more: dict[str, int]) -> dict[str, Any]:
        """Returns the entry of the summary; none if images are not cut."""
        return {KEY: {**dataclasses.asdict(self._rules), **self._counts, **more}} if self._rules.size else {}

    def explain_loss(self) -> str:
        """Returns why no object is left if every window shows too little of them."""
        return (
            f"no window of {self._rules.size} pixels shows {self._rules.min_visible:.0%} of any object; {_ADVICE}"
        )


def describe(summary: dict[str, Any]) -> list[str]:
    """Returns lines about the windows for the output of a converter; none if images are not cut."""
    tiles = summary.get(KEY)
    if not tiles:
        return []
    size, windows = tiles["size"], tiles["windows"]
    images = format_count(tiles["images"], "image")
    shared = f"neighbours share at least {tiles['overlap']:.0%}"
    lines = [f"  {images} larger than {size} pixels cut into {format_count(windows, 'window')}; {shared}"]
    if "empty_windows" in tiles:
        empty, left_out = (format_count(tiles[key], "window") for key in ("empty_windows", "left_out_windows"))
        cut, ignored = (format_count(tiles[key], "instance") for key in ("cut_instances", "ignored_instances"))
        lines.append(f"  {empty} without instances, and {left_out} more left out (--tile_empty_share={tiles['empty_share']:g})")
        least = f"less than {tiles['min_visible']:.0%}"
        lines.append(f"  {cut} cut at borders of windows, and {ignored} of which {least} is visible, ignored there")
    if tiles.get("never_instances"):
        never = format_count(tiles["never_instances"], "object is an instance", "objects are instances")
        lines.append(f"  warning: {never} in no window, as all show too little; {_ADVICE}")
    return lines

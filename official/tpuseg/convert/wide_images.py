"""Statistics of images with more than 8 bits per channel.

Training, evaluation and prediction use 8 bits. `--pixel_range` sets the values that become black and white. Without it, the range
of a 16-bit file is 0 to 65535, and an image that uses 12 of the 16 bits is nearly black:

    file (12 of 16 bits)   without --pixel_range   with --pixel_range=0,4095
    0    1000   4095       0   3   15              0   62   255
"""

from collections.abc import Sequence
from typing import Any

from tpuseg.io.image_files import WideValues
from tpuseg.utils.messages import format_count, plural

KEY = "pixel_range"
_COUNTS = "wide_images"
# If the largest value is below this fraction of the range, two or more bits are lost.
_DARK = 0.25


class WideImages:
    """Collects the value ranges of the images with more than 8 bits."""

    def __init__(self, pixel_range: Sequence[float]) -> None:
        """Starts without images; `pixel_range` has the two values that become black and white, or is empty."""
        self._pixel_range = tuple(pixel_range)
        self._found: list[WideValues] = []

    def add(self, wide: WideValues | None) -> None:
        """Adds an image; None for an image with 8 bits."""
        if wide is not None:
            self._found.append(wide)

    def summary(self) -> dict[str, Any]:
        """Returns entries for the summary; none if all images have 8 bits and there is no `--pixel_range`."""
        counts: dict[str, Any] = {KEY: list(self._pixel_range)} if self._pixel_range else {}
        if self._found:
            counts[_COUNTS] = {
                "count": len(self._found),
                "smallest": min(wide.smallest for wide in self._found),
                "largest": max(wide.largest for wide in self._found),
                "bits": max(wide.bits for wide in self._found),
                "clipped": sum(wide.clipped for wide in self._found) / len(self._found),
            }
        return counts


def describe(summary: dict[str, Any]) -> list[str]:
    """Returns lines about the images with more than 8 bits for the output of a converter."""
    counts = summary.get(_COUNTS)
    if not counts:
        return []
    values = f"{counts['smallest']:g} to {counts['largest']:g}"
    images = format_count(counts["count"], "image")
    line = f"  {images} of {counts['bits']} bits, values {values}"
    given = summary.get(KEY)
    if given:
        return [f"{line}: {given[0]:g} becomes black and {given[1]:g} white; {counts['clipped']:.1%} of the values are outside"]
    full = (1 << min(counts["bits"], 16)) - 1
    if counts["largest"] >= _DARK * full:
        return [f"{line}: 0 becomes black and {full} white"]
    high = (1 << max(int(counts["largest"]), 1).bit_length()) - 1
    return [
        f"warning: {images} of {counts['bits']} bits {plural(counts['count'], 'uses', 'use')} only the values {values} of {full},"
        f" so that {plural(counts['count'], 'it is', 'they are')} nearly black; convert again with --pixel_range=0,{high}"
    ]

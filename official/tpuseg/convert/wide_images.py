"""Images of more than 8 bits a channel: what a conversion says of their values.

Training, evaluation and prediction see 8 bits. Which values become black and white is `--pixel_range`; without it, all 16 bits of a
16-bit file do, and an image that uses 12 of them is nearly black:

    file (12 of 16 bits)   without --pixel_range   with --pixel_range=0,4095
    0    1000   4095       0   3   15              0   62   255
"""

from collections.abc import Sequence
from typing import Any

from tpuseg.io.image_files import WideValues
from tpuseg.utils.messages import counted, plural

KEY = "pixel_range"
_COUNTS = "wide_images"
# An image whose largest value is below this share of its range loses two bits or more.
_DARK = 0.25


class WideImages:
    """Counts the images of more than 8 bits of a conversion, and the values in them."""

    def __init__(self, pixel_range: Sequence[float]) -> None:
        """Starts with none; `pixel_range` is the two values that become black and white, or nothing."""
        self._pixel_range = tuple(pixel_range)
        self._found: list[WideValues] = []

    def add(self, wide: WideValues | None) -> None:
        """Counts an image; None is one of 8 bits."""
        if wide is not None:
            self._found.append(wide)

    def summary(self) -> dict[str, Any]:
        """Returns what goes into the summary of a conversion: nothing for images of 8 bits and no `--pixel_range`."""
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
    """Returns lines about the images of more than 8 bits in a summary, for people."""
    counts = summary.get(_COUNTS)
    if not counts:
        return []
    values = f"{counts['smallest']:g} to {counts['largest']:g}"
    images = counted(counts["count"], "image")
    line = f"  {images} of {counts['bits']} bits, values {values}"
    given = summary.get(KEY)
    if given:
        return [f"{line}: {given[0]:g} becomes black and {given[1]:g} white; {counts['clipped']:.1%} of the values lie outside"]
    full = (1 << min(counts["bits"], 16)) - 1
    if counts["largest"] >= _DARK * full:
        return [f"{line}: 0 becomes black and {full} white"]
    high = (1 << max(int(counts["largest"]), 1).bit_length()) - 1
    return [
        f"warning: {images} of {counts['bits']} bits {plural(counts['count'], 'uses', 'use')} only the values {values} of {full},"
        f" so that {plural(counts['count'], 'it is', 'they are')} nearly black; convert again with --pixel_range=0,{high}"
    ]

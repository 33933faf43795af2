"""Run lengths of Label Studio's brush: the values of an RGBA image as a stream of bits.

The fields of the stream and their numbers of bits; the highest bit of each number comes first:

    32        number of values
    5         bits per value minus one, w - 1
    4 x 4     bits of a run's length minus one, for each of four sizes
    then for every run
    1         1 if the run repeats one value, 0 if all its values follow
    2         index of the size of its length
    size      its length minus one
    w         the value; for a run without repetition, w bits for each value

Example: three values 0 and one value 255, with sizes of 3, 4, 8 and 16 bits, are `1 00 010 00000000` and `1 00 000 11111111`.
"""

from collections.abc import Sequence

import numpy as np


def decode(packed: Sequence[int], num_values: int) -> np.ndarray:
    """Returns the values of packed run lengths.

    Args:
      packed: bytes of the stream, as numbers from 0 to 255.
      num_values: expected number of values.

    Returns:
      [num_values] uint8 values.

    Raises:
      ValueError: the stream is damaged, or has another number of values.
    """
    bits = _Bits(packed)
    count, width = bits.read(32), bits.read(5) + 1
    if count != num_values:
        raise ValueError(f"the brush's run lengths have {count} values, the image {num_values} (height x width x 4)")
    if width > 8:
        raise ValueError(f"the brush's run lengths have values of {width} bits, not of 8")
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    start = 0
    while start < count:
        repeats = bits.read(1)
        stop = start + 1 + bits.read(sizes[bits.read(2)])
        if stop > count:
            raise ValueError(f"the brush's run lengths have a run up to value {stop} of {count}")
        values[start:stop] = bits.read(width) if repeats else bits.read_many(stop - start, width)
        start = stop
    return values


class _Bits:
    """A stream of bits."""

    def __init__(self, packed: Sequence[int]) -> None:
        try:
            self._bits = np.unpackbits(np.frombuffer(bytes(packed), np.uint8))
        except (TypeError, ValueError, OverflowError):
            raise ValueError("the brush's run lengths are not a list of numbers from 0 to 255") from None
        self._text = (self._bits + ord("0")).tobytes().decode()
        self._place = 0

    def read(self, size: int) -> int:
        """Returns the next number, which has `size` bits."""
        return int(self._text[self._take(size) : self._place], 2)

    def read_many(self, count: int, size: int) -> np.ndarray:
        """Returns the next `count` numbers of `size` bits each, at most 8, as [count] uint8."""
        start = self._take(count * size)
        rows = self._bits[start : self._place].reshape(count, size)
        return (rows @ (1 << np.arange(size)[::-1])).astype(np.uint8)

    def _take(self, size: int) -> int:
        start, self._place = self._place, self._place + size
        if self._place > len(self._bits):
            raise ValueError("the brush's run lengths are truncated")
        return start

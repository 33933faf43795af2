"""Pictures of objects, true or predicted: their masks, boxes and names."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from tpuseg import masks
from tpuseg.visualize import color_map

# Share of the object's colour in its pixels.
_ALPHA = 0.5
# Pictures with a shorter side are enlarged: names could not be read in them.
_SMALLEST_SIDE = 240
# Text stays readable when a picture is shown 320 pixels wide.
_WIDTH_PER_TEXT_HEIGHT = 28


def color_of(number: int) -> tuple[int, int, int]:
    """Returns red, green and blue of an object by its place among those of a picture."""
    # Neighbours in the colour map look alike in its second half; black is for nothing.
    colors = color_map(64)[1:]
    red, green, blue = colors[number % len(colors)].tolist()
    return red, green, blue


def draw(image: np.ndarray, boxes: np.ndarray, runs: Sequence[masks.RunLengths], captions: Sequence[str]) -> np.ndarray:
    """Returns a picture with its objects, each in a colour of its own.

    Args:
      image: [H, W, 3] uint8.
      boxes: [D, 4] yxyx pixels.
      runs: D masks at the picture's size; the first is drawn on top.
      captions: D names, with scores perhaps.

    Returns:
      [H, W, 3] uint8; a small picture a whole number of times as large.
    """
    times = -(-_SMALLEST_SIDE // min(image.shape[:2]))
    image, boxes = _repeat(image, times), np.asarray(boxes) * times
    pixels = image.astype(np.float32)
    for number in reversed(range(len(runs))):
        on_object = _repeat(masks.decode(runs[number]), times) > 0
        pixels[on_object] = (1 - _ALPHA) * pixels[on_object] + _ALPHA * np.array(color_of(number))
    picture = PIL.Image.fromarray(pixels.astype(np.uint8))
    canvas = PIL.ImageDraw.Draw(picture)
    text_height = max(10, image.shape[1] // _WIDTH_PER_TEXT_HEIGHT)
    font = PIL.ImageFont.load_default(text_height)
    line = max(1, text_height // 8)
    for number in reversed(range(len(runs))):
        color = color_of(number)
        y0, x0, y1, x1 = (round(float(value)) for value in boxes[number])
        # The last pixel of a box is the one before its border.
        canvas.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=color, width=line)
        _write(canvas, captions[number], (x0, y0), color, font, image.shape[1])
    return np.asarray(picture)


def _repeat(pixels: np.ndarray, times: int) -> np.ndarray:
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _write(
    canvas: PIL.ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    color: tuple[int, ...],
    font: PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont,
    width: int,
) -> None:
    """Writes a name on its colour above the corner of a box, or within the picture where there is no room."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    x = max(0, min(corner[0], width - int(right) - 2))
    y = max(0, corner[1] - int(bottom) - 2)
    canvas.rectangle((x, y, x + right + 2, y + bottom + 2), fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 128
    canvas.text((x + 1, y + 1), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)

"""Drawing annotated or predicted objects: their masks, boxes and names."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from tpuseg.ops import mask_windows, masks
from tpuseg.visualization import fonts
from tpuseg.visualization.drawing import color_map, enlarge, enlargement_factor, names_with_colors, readable_size, to_rgb

# Opacity of an object's colour.
_ALPHA = 0.5
# Pixels of the shorter side of a box for each pixel of its line.
_SIDE_PER_LINE = 12


def color_of(class_index: int) -> tuple[int, int, int]:
    """Returns red, green and blue of a class, which are the same in ground truth and prediction."""
    # In the second half of the colour map, neighbours look similar; black is not used.
    colors = color_map(64)[1:]
    red, green, blue = colors[class_index % len(colors)].tolist()
    return red, green, blue


def draw(
    image: np.ndarray,
    boxes: np.ndarray,
    runs: Sequence[masks.RunLengths],
    captions: Sequence[str],
    classes: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Draws objects over their image in the colours of their classes.

    An object that is smaller than its caption has no caption, because it would hide the object; `add_legend` explains the colours.

    Args:
      image: [H, W, C] uint8, see `drawing.to_rgb`.
      boxes: [D, 4] yxyx pixels.
      runs: D masks at the image's size; the first is drawn on top.
      captions: D names, which may include scores.
      classes: D indices of classes.

    Returns:
      [H, W, 3] uint8; a small image is enlarged by an integer factor.
    """
    factor = enlargement_factor(image.shape)
    boxes = np.asarray(boxes) * factor
    image = enlarge(to_rgb(image))
    colors = [color_of(int(index)) for index in classes]
    pixels = image.copy()
    for number in reversed(range(len(runs))):
        _fill(pixels, runs[number], factor, colors[number])
    drawn = PIL.Image.fromarray(pixels)
    canvas = PIL.ImageDraw.Draw(drawn)
    text_height = readable_size(image.shape[1])
    line = max(1, text_height // 8)
    corners = [tuple(round(float(value)) for value in box) for box in boxes]
    for number in reversed(range(len(runs))):
        y0, x0, y1, x1 = corners[number]
        # A line must not cover a small object. The last pixel of a box is the one before its border.
        width = max(1, min(line, min(y1 - y0, x1 - x0) // _SIDE_PER_LINE))
        canvas.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colors[number], width=width)
    for number in reversed(range(len(runs))):
        _write(canvas, captions[number], corners[number], colors[number], text_height, image.shape[1])
    return np.asarray(drawn)


def add_legend(image: np.ndarray, classes: Sequence[int] | np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Adds a legend below a drawn image: the number of objects, and the colour and count of every class.

    Args:
      image: [H, W, 3] uint8.
      classes: indices of the objects' classes.
      class_names: a class without a name is shown by its index.
    """
    numbers, counts = np.unique(np.asarray(classes, np.int64), return_counts=True)
    names = [class_names[number] if number < len(class_names) else str(number) for number in numbers.tolist()]
    rows = zip(numbers.tolist(), names, counts.tolist(), strict=True)
    entries = [(f"{name}: {count}", color_of(number)) for number, name, count in rows]
    total = int(counts.sum())
    entries.insert(0, (f"objects: {total}", (255, 255, 255)))
    width = image.shape[1]
    return np.concatenate([image, names_with_colors(entries, width, readable_size(width))])


def _fill(pixels: np.ndarray, runs: masks.RunLengths, factor: int, color: tuple[int, int, int]) -> None:
    """Blends an object's colour into the pixels of its mask, and draws its outline.

    Args:
      pixels: [H, W, 3] uint8, changed in place.
      runs: the mask, whose sides are those of the image divided by `factor`.
      factor: by which the image was enlarged.
      color: red, green and blue.
    """
    window = mask_windows.bounding_window(runs)
    if min(window.size) <= 0:
        return
    on_object = mask_windows.crop(runs, window).repeat(factor, axis=0).repeat(factor, axis=1) > 0
    top, left, bottom, right = (edge * factor for edge in window)
    part = pixels[top:bottom, left:right]
    part[on_object] = (1 - _ALPHA) * part[on_object].astype(np.float32) + _ALPHA * np.array(color)
    part[_find_outline(on_object)] = color


def _find_outline(mask: np.ndarray) -> np.ndarray:
    """Returns the outermost pixels of a mask; none if the object is thinner than three pixels everywhere."""
    padded = np.pad(mask, 1)
    inside = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside if inside.any() else np.zeros_like(mask)


def _write(
    canvas: PIL.ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, ...],
    color: tuple[int, ...],
    text_height: int,
    width: int,
) -> None:
    """Writes a name on its colour above the corner of a box, or inside the image if there is no space above it.

    Nothing is written if the box is smaller than the name.
    """
    y0, x0, y1, x1 = box
    text, font = fonts.fit(text, text_height)
    _, _, right, bottom = canvas.textbbox((0, 0), text, font=font)
    if x1 - x0 < right + 2 or y1 - y0 < bottom + 2:
        return
    x = max(0, min(x0, width - int(right) - 2))
    y = max(0, y0 - int(bottom) - 2)
    canvas.rectangle((x, y, x + right + 2, y + bottom + 2), fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 128
    canvas.text((x + 1, y + 1), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)

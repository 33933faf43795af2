"""Drawing labels and predictions. This module imports only NumPy and Pillow, so that worker processes start quickly."""

import io
import re
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from tpuseg.ops.windows import resize_nearest
from tpuseg.visualization import fonts

# Colour of ignored pixels in Pascal VOC.
IGNORE_COLOR = (224, 224, 192)
_MARGIN = 4
_TEXT_SIZE = 12
_TITLE_HEIGHT = 18
_WIDTH_PER_TEXT_HEIGHT = 28
_WHITE = (255, 255, 255)
# Maximum number of lines of a name in a legend.
_MOST_LINES = 4
# A part of a name; a line may be broken after it.
_PART = re.compile(r"[^ _/,-]*[ _/,-]?")
# Images with a shorter side are enlarged, so that names are readable.
_SMALLEST_SIDE = 240


def color_map(num_colors: int = 256) -> np.ndarray:
    """Returns VOC's colours, [num_colors, 3] uint8: the bits of the class id are distributed over the three channels."""
    ids = np.arange(num_colors)
    colors = np.zeros((num_colors, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((ids >> channel) & 1) << (7 - bit)).astype(np.uint8)
        ids >>= 3
    return colors


def colorize(labels: np.ndarray, ignore_label: int | None = None) -> np.ndarray:
    """Returns the colours of class ids [H, W] as [H, W, 3] uint8."""
    colors = color_map()
    if ignore_label is not None:
        colors[ignore_label] = IGNORE_COLOR
    return colors[labels]


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Converts an image of any number of channels to [H, W, 3]: the first three, or the first of one or two as greyscale."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def overlay(image: np.ndarray, labels: np.ndarray, ignore_label: int | None = None, alpha: float = 0.55) -> np.ndarray:
    """Draws the colours of the classes over an image.

    Class 0, whose colour is black and which is usually the background, is not drawn.

    Args:
      image: [H, W, C] uint8, see `to_rgb`.
      labels: [H, W] class ids.
      ignore_label: label that is drawn in a neutral colour.
      alpha: opacity of the colour, 0 to 1.

    Returns:
      [H, W, 3] uint8.
    """
    image = to_rgb(image)
    colors = colorize(labels, ignore_label).astype(np.float32)
    mixed = (1 - alpha) * image + alpha * colors
    return np.where((labels == 0)[..., np.newaxis], image, mixed.astype(np.uint8))


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Enlarges a small image or its class ids by an integer factor, so that names are readable.

    Args:
      pixels: [H, W] or [H, W, C].
    """
    times = enlargement_factor(pixels.shape)
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def reduce(pixels: np.ndarray, longest_side: int) -> np.ndarray:
    """Reduces an image or a class map if a side is longer than `longest_side`; smaller ones are returned unchanged.

    Args:
      pixels: [H, W, C] uint8, of which the average colour is computed, see `to_rgb`; or [H, W] class ids, by nearest neighbour.
      longest_side: maximum height and width of the result.
    """
    scale = longest_side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    if pixels.ndim == 2:
        return resize_nearest(pixels, (height, width))
    return np.asarray(PIL.Image.fromarray(to_rgb(pixels)).resize((width, height), PIL.Image.Resampling.BOX))


def enlargement_factor(shape: Sequence[int]) -> int:
    """Returns the factor by which an image of this shape is enlarged."""
    return -(-_SMALLEST_SIDE // min(shape[:2]))


def readable_size(width: int) -> int:
    """Returns the text height in pixels that is readable if an image of this width is displayed 320 pixels wide."""
    return max(_TEXT_SIZE, width // _WIDTH_PER_TEXT_HEIGHT)


def legend(
    labels: np.ndarray,
    class_names: Sequence[str],
    width: int,
    ignore_label: int | None = None,
    text_size: int = _TEXT_SIZE,
) -> np.ndarray:
    """Draws a legend, [h, width, 3], with the colour and name of every class in the labels.

    Args:
      labels: class ids of any shape.
      class_names: class names; a class without a name is shown by its id.
      width: width of the legend in pixels; names that do not fit continue in another row, and long names in another line.
      ignore_label: label that is shown as `ignored`.
      text_size: height of the text in pixels.
    """
    colors = color_map()
    entries = []
    for label in np.unique(labels).tolist():
        if label == ignore_label:
            entries.append(("ignored", IGNORE_COLOR))
        else:
            entries.append((class_names[label] if label < len(class_names) else str(label), tuple(colors[label].tolist())))
    return names_with_colors(entries, width, text_size)


def names_with_colors(entries: Sequence[tuple[str, tuple[int, ...]]], width: int, text_size: int = _TEXT_SIZE) -> np.ndarray:
    """Draws names, each next to a square of its colour, [h, width, 3].

    Args:
      entries: names and their colours as red, green and blue.
      width: width in pixels; names that do not fit continue in another row, and long names in another line.
      text_size: height of the text in pixels.
    """
    places: list[tuple[int, int, list[str], fonts.Font, tuple[int, ...]]] = []
    line_height = text_size + 2 * _MARGIN
    beside_text = text_size + 3 * _MARGIN
    x, y, row_lines = _MARGIN, _MARGIN, 1
    for name, color in entries:
        text, font = fonts.fit(name, text_size)
        lines = _split_into_lines(text, font, width - beside_text)
        wide = beside_text + _MARGIN + max(int(font.getlength(line)) for line in lines)
        if x + wide > width and x > _MARGIN:
            x, y, row_lines = _MARGIN, y + row_lines * line_height, 1
        places.append((x, y, lines, font, color))
        x, row_lines = x + wide, max(row_lines, len(lines))
    strip = PIL.Image.new("RGB", (width, y + row_lines * line_height), _WHITE)
    draw = PIL.ImageDraw.Draw(strip)
    for x, y, lines, font, color in places:
        draw.rectangle((x, y + 1, x + text_size, y + text_size + 1), fill=color, outline=(0, 0, 0))
        for number, line in enumerate(lines):
            draw.text((x + text_size + _MARGIN, y - 1 + number * line_height), line, fill=(0, 0, 0), font=font)
    return np.asarray(strip)


def _split_into_lines(text: str, font: fonts.Font, width: int) -> list[str]:
    """Splits a text into lines of at most `width` pixels, after words if possible.

    A text that needs more than `_MOST_LINES` lines ends with three dots.
    """
    lines, line = [], ""
    for part in _PART.findall(text):
        if line and font.getlength((line + part).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        for character in part:
            if line and font.getlength((line + character).rstrip()) > width:
                lines.append(line)
                line = ""
            line += character
    lines.append(line.rstrip())
    if len(lines) > _MOST_LINES:
        last = lines[_MOST_LINES - 1]
        while len(last) > 1 and font.getlength(f"{last}...") > width:
            last = last[:-1]
        lines = [*lines[: _MOST_LINES - 1], f"{last}..."]
    return lines


def add_title(image: np.ndarray, title: str) -> np.ndarray:
    """Adds a line of text above an image."""
    strip = PIL.Image.new("RGB", (image.shape[1], _TITLE_HEIGHT), _WHITE)
    title, font = fonts.fit(title, _TEXT_SIZE)
    PIL.ImageDraw.Draw(strip).text((_MARGIN, 1), title, fill=(0, 0, 0), font=font)
    return np.concatenate([np.asarray(strip), image])


def beside(images: Sequence[np.ndarray]) -> np.ndarray:
    """Places images ([H, W, 3] uint8) side by side, with white below images of smaller height."""
    height = max(image.shape[0] for image in images)
    gap = np.full((height, _MARGIN, 3), 255, np.uint8)
    filled = [np.pad(each, ((0, height - each.shape[0]), (0, 0), (0, 0)), constant_values=255) for each in images]
    parts = [part for image in filled for part in (gap, image)]
    return np.concatenate(parts[1:], axis=1)


def panel(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, class_names: Sequence[str], ignore_label: int
) -> np.ndarray:
    """Draws an image, its ground truth and a prediction side by side, with a legend below; small images are enlarged."""
    image, truth, prediction = enlarge(image), enlarge(truth), enlarge(prediction)
    parts = [
        add_title(to_rgb(image), "image"),
        add_title(overlay(image, truth, ignore_label), "truth"),
        add_title(overlay(image, prediction), "prediction"),
    ]
    row = beside(parts)
    both = np.concatenate([truth.ravel(), prediction.ravel()])
    return np.concatenate([row, legend(both, class_names, row.shape[1], ignore_label)])


def contact_sheet(images: Sequence[np.ndarray], columns: int = 4, width: int = 320) -> np.ndarray:
    """Arranges images in rows.

    Args:
      images: [H, W, 3] uint8 images of any sizes; at least one.
      columns: number of images per row.
      width: width in pixels to which each image is resized.
    """
    thumbnails = []
    for image in images:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        thumbnails.append(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR))
    columns = min(columns, len(thumbnails))
    rows = [thumbnails[start : start + columns] for start in range(0, len(thumbnails), columns)]
    heights = [max(image.height for image in row) for row in rows]
    sheet = PIL.Image.new("RGB", (columns * (width + _MARGIN), sum(heights) + _MARGIN * len(rows)), _WHITE)
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for column, thumbnail in enumerate(row):
            sheet.paste(thumbnail, (column * (width + _MARGIN), y))
        y += height + _MARGIN
    return np.asarray(sheet)


def write_png(path: str, pixels: np.ndarray, palette: np.ndarray | None = None) -> None:
    """Writes a PNG atomically.

    Args:
      path: path of the file, local or gs://.
      pixels: [H, W, 3] uint8 RGB, or [H, W] uint8 palette indices or ids.
      palette: [256, 3] uint8 colours, or None.
    """
    from tpuseg.io import files  # Imported here because it imports TensorFlow.

    image = PIL.Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())

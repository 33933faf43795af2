"""Geometry and colour of images and their labels together.

Pixels are areas with their centres at half coordinates, for images and labels alike, so that both stay aligned at every scale.
Images are interpolated bilinearly without antialiasing in training, as is the field's habit for DeepLab; labels take the nearest
value. Where a crop reaches beyond the image there are mid-grey pixels with the ignore label.
"""

from collections.abc import Sequence

import tensorflow as tf

# What ImageNet's mean comes to, nearly: after scaling, padding says nothing to the network.
PAD_VALUE = 127

# Folded into an example's seed. Adding them to it would give the draws of the neighbouring examples once more.
_FLIP, _COLORS = 1, 2


def placed_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of an image on a canvas: its own size if it fits, otherwise shrunk with its aspect kept."""
    scale = min(1.0, canvas[0] / size[0], canvas[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def placed_size_of(size: tf.Tensor, canvas: tuple[int, int]) -> tf.Tensor:
    """Returns `placed_size`, [2] int32, of an image whose size is a tensor, [2] int32."""
    # In float64, as in `placed_size`, so that both round to the same pixel.
    scale = tf.minimum(tf.reduce_min(tf.constant(canvas, tf.float64) / tf.cast(size, tf.float64)), 1.0)
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)


def padding(num_channels: int, pixel_mean: Sequence[float]) -> tuple[int, ...]:
    """Returns what lies beside an image, one value a channel: the means that scaling subtracts if they are given, else mid-grey."""
    return tuple(round(value) for value in pixel_mean) or (PAD_VALUE,) * num_channels


def pad_image(image: tf.Tensor, canvas: tuple[int, int], fill: Sequence[int] = (PAD_VALUE,)) -> tf.Tensor:
    """Fills a [h, w, C] uint8 image up to the canvas, below and on the right, with a value a channel or one for all."""
    return tf.ensure_shape(_fill_up(image, canvas, fill), (*canvas, image.shape[2]))


def _fill_up(pixels: tf.Tensor, canvas: tuple[int, int], values: Sequence[int]) -> tf.Tensor:
    """Returns [H, W, ...] uint8 with values below and on the right of the pixels."""
    size, channels = tf.shape(pixels)[:2], pixels.shape[2:].as_list()

    def filled(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        if len(set(values)) == 1:
            return tf.fill([height, width, *channels], tf.constant(values[0], tf.uint8))
        return tf.broadcast_to(tf.constant(values, tf.uint8), [height, width, *channels])

    # Concatenation copies rows, where `tf.pad` goes value by value: a quarter of the time.
    wide = tf.concat([pixels, filled(size[0], canvas[1] - size[1])], 1)
    return tf.concat([wide, filled(canvas[0] - size[0], canvas[1])], 0)


def place_on_canvas(image: tf.Tensor, canvas: tuple[int, int], fill: Sequence[int] = (PAD_VALUE,)) -> tf.Tensor:
    """Puts an image into the top-left corner of a canvas.

    Args:
      image: [height, width, C] uint8.
      canvas: (H, W); a larger image is shrunk to fit, with antialiasing, to `placed_size`.
      fill: beside the image, a value a channel or one for all.

    Returns:
      [H, W, C] uint8.
    """
    target = placed_size_of(tf.shape(image)[:2], canvas)
    shrinks = tf.reduce_any(tf.shape(image)[:2] > tf.constant(canvas))
    placed = tf.cond(shrinks, lambda: _shrink(image, target), lambda: image)
    return pad_image(placed, canvas, fill)


def draw_window(
    size: tf.Tensor, crop: tuple[int, int], scale_min: float, scale_max: float, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Draws a random scale and place of a training crop.

    The window is drawn on whole pixels of the image, so that only what lies under it needs to be decoded and resized.

    Args:
      size: [2] int32, height and width of the image.
      crop: (H, W) of the result.
      scale_min: smallest scale.
      scale_max: largest scale.
      seed: [2] int, of this example.

    Returns:
      `offset` and `extent`, [2] int32, of the window in the image; `target`, [2] int32, to which it is resized, at most the crop.
    """
    drawn = tf.random.stateless_uniform([3], seed)
    scale = scale_min + (scale_max - scale_min) * drawn[0]
    limit = tf.constant(crop, tf.int32)

    def scaled(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        return tf.maximum(tf.cast(tf.round(tf.cast(pixels, tf.float32) * factor), tf.int32), 1)

    extent = tf.minimum(size, scaled(limit, 1 / scale))
    target = tf.where(extent < size, limit, tf.minimum(limit, scaled(size, scale)))
    room = size - extent
    offset = tf.cast(tf.floor(drawn[1:] * tf.cast(room + 1, tf.float32)), tf.int32)
    return {"offset": tf.minimum(offset, room), "extent": extent, "target": target}


def resize_image(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns a [h, w, C] uint8 image resized bilinearly to `target` ([2] int32), without antialiasing."""
    # From float32, for which TensorFlow has a vectorised kernel: nearly twice as fast as from uint8, and the same numbers.
    pixels = tf.cast(image, tf.float32)[tf.newaxis]
    resized = tf.raw_ops.ResizeBilinear(images=pixels, size=target, half_pixel_centers=True)
    return tf.cast(resized[0] + 0.5, tf.uint8)


def resize_image_smoothly(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Like `resize_image`, but with antialiasing where the image shrinks."""
    shrinks = tf.reduce_any(target < tf.shape(image)[:2])
    return tf.cond(shrinks, lambda: _shrink(image, target), lambda: resize_image(image, target))


def _shrink(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(tf.image.resize(image, target, antialias=True)), tf.uint8)


def is_mirrored(seed: tf.Tensor) -> tf.Tensor:
    """Returns whether the example of a seed is mirrored, scalar bool; half of all are."""
    return tf.random.stateless_uniform([], tf.random.experimental.stateless_fold_in(seed, _FLIP)) < 0.5


def resize_labels(labels: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns [h, w] labels resized to `target` ([2] int32), each pixel the label of the nearest centre."""
    size = tf.shape(labels)
    rows, columns = (
        tf.cast((tf.cast(tf.range(target[axis]), tf.float32) + 0.5) * tf.cast(size[axis] / target[axis], tf.float32), tf.int32)
        for axis in (0, 1)
    )
    # Whole rows are gathered, and the columns as rows of the transpose: pixel by pixel it takes five times as long.
    labels = tf.gather(tf.transpose(labels), tf.minimum(columns, size[1] - 1))
    return tf.gather(tf.transpose(labels), tf.minimum(rows, size[0] - 1))


def pad(
    image: tf.Tensor, labels: tf.Tensor, crop: tuple[int, int], ignore_label: int, fill: Sequence[int] = (PAD_VALUE,)
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills an image and its labels up to the crop's size, below and on the right; `fill` as for `place_on_canvas`."""
    return pad_image(image, crop, fill), tf.ensure_shape(_fill_up(labels, crop, (ignore_label,)), crop)


def random_flip(image: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors an image and its labels, half of the time."""
    return tf.cond(is_mirrored(seed), lambda: (tf.reverse(image, [1]), tf.reverse(labels, [1])), lambda: (image, labels))


def jitter_colors(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation at random.

    Brightness and contrast of all channels change together. Saturation is what colours are, and only changes with three channels.

    Args:
      image: [H, W, C] uint8.
      strength: each is multiplied by a factor between 1 - strength and 1 + strength.
      seed: [2] int, of this example.

    Returns:
      [H, W, C] uint8.
    """
    brightness, contrast, saturation = tf.unstack(
        tf.random.stateless_uniform(
            [3], tf.random.experimental.stateless_fold_in(seed, _COLORS), 1 - strength, 1 + strength
        )
    )
    pixels = tf.cast(image, tf.float32) * brightness
    pixels = (pixels - tf.reduce_mean(pixels)) * contrast + tf.reduce_mean(pixels)
    if image.shape[-1] == 3:
        gray = tf.tensordot(pixels, tf.constant([0.299, 0.587, 0.114]), 1)[..., tf.newaxis]
        pixels = (pixels - gray) * saturation + gray
    return tf.saturate_cast(tf.round(pixels), tf.uint8)

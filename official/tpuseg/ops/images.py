"""Geometric and colour augmentation of images, together with their labels.

Pixels are areas with their centres at half coordinates, for images and labels, so both stay aligned at every scale. In training,
images are interpolated bilinearly without antialiasing, as is usual for DeepLab, and labels take the nearest value. If a crop
reaches beyond the image, it is padded with mid-grey pixels and the ignore label.
"""

from collections.abc import Sequence

import tensorflow as tf

# Approximately ImageNet's mean: after pixel scaling, padding is close to 0.
PAD_VALUE = 127

# Folded into an example's seed. Adding them to the seed instead would repeat the random numbers of other examples.
_FLIP, _COLORS = 1, 2


def placed_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of an image on a canvas: its size, or if it does not fit, the largest with its aspect ratio."""
    scale = min(1.0, canvas[0] / size[0], canvas[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def placed_size_of(size: tf.Tensor, canvas: tuple[int, int]) -> tf.Tensor:
    """Returns `placed_size`, [2] int32, of an image whose size is a tensor, [2] int32."""
    # In float64, as in `placed_size`, so that both round to the same pixel.
    scale = tf.minimum(tf.reduce_min(tf.constant(canvas, tf.float64) / tf.cast(size, tf.float64)), 1.0)
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)


def padding(num_channels: int, pixel_mean: Sequence[float]) -> tuple[int, ...]:
    """Returns the pixel value of padding for each channel: the given means that pixel scaling subtracts, otherwise mid-grey."""
    return tuple(round(value) for value in pixel_mean) or (PAD_VALUE,) * num_channels


def pad_image(image: tf.Tensor, canvas: tuple[int, int], fill: Sequence[int] = (PAD_VALUE,)) -> tf.Tensor:
    """Pads a [h, w, C] uint8 image at the bottom and right to the canvas, with one value per channel or one for all channels."""
    return tf.ensure_shape(_fill_up(image, canvas, fill), (*canvas, image.shape[2]))


def _fill_up(pixels: tf.Tensor, canvas: tuple[int, int], values: Sequence[int]) -> tf.Tensor:
    """Returns the pixels padded at the bottom and right, [H, W, ...] uint8."""
    size, channels = tf.shape(pixels)[:2], pixels.shape[2:].as_list()

    def filled(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        if len(set(values)) == 1:
            return tf.fill([height, width, *channels], tf.constant(values[0], tf.uint8))
        return tf.broadcast_to(tf.constant(values, tf.uint8), [height, width, *channels])

    # Concatenation copies whole rows, and takes a quarter of the time of `tf.pad`, which copies single values.
    wide = tf.concat([pixels, filled(size[0], canvas[1] - size[1])], 1)
    return tf.concat([wide, filled(canvas[0] - size[0], canvas[1])], 0)


def place_on_canvas(image: tf.Tensor, canvas: tuple[int, int], fill: Sequence[int] = (PAD_VALUE,)) -> tf.Tensor:
    """Places an image in the top-left corner of a canvas.

    Args:
      image: [height, width, C] uint8.
      canvas: (H, W); a larger image is resized to `placed_size` with antialiasing.
      fill: value of the padding, one per channel or one for all channels.

    Returns:
      [H, W, C] uint8.
    """
    target = placed_size_of(tf.shape(image)[:2], canvas)
    shrinks = tf.reduce_any(tf.shape(image)[:2] > tf.constant(canvas))
    placed = tf.cond(shrinks, lambda: _shrink(image, target), lambda: image)
    return pad_image(placed, canvas, fill)


def draw_window(
    size: tf.Tensor,
    crop: tuple[int, int],
    scale_min: float,
    scale_max: float,
    seed: tf.Tensor,
    around: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Draws a random scale and position of a training crop.

    The window has integer coordinates in the image, so only this part of the image needs to be decoded and resized.

    Args:
      size: [2] int32, height and width of the image in pixels.
      crop: (H, W) of the crop in pixels.
      scale_min: smallest scale.
      scale_max: largest scale.
      seed: [2] int, the seed of this example.
      around: [4] float32 yxyx box in pixels of the image; the window contains it, at a random position, or is inside of it along an
        axis where the box is longer. By default the window is anywhere.

    Returns:
      `offset` and `extent`, [2] int32, the top-left corner and the size of the window in the image; `target`, [2] int32, the size
      to which the window is resized, at most that of the crop.
    """
    drawn = tf.random.stateless_uniform([3], seed)
    scale = scale_min + (scale_max - scale_min) * drawn[0]
    limit = tf.constant(crop, tf.int32)

    def scaled(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        return tf.maximum(tf.cast(tf.round(tf.cast(pixels, tf.float32) * factor), tf.int32), 1)

    extent = tf.minimum(size, scaled(limit, 1 / scale))
    target = tf.where(extent < size, limit, tf.minimum(limit, scaled(size, scale)))
    room = size - extent
    first, last = (tf.zeros_like(room), room) if around is None else _offsets_around(around, extent, room)
    offset = first + tf.cast(tf.floor(drawn[1:] * tf.cast(last - first + 1, tf.float32)), tf.int32)
    return {"offset": tf.minimum(offset, last), "extent": extent, "target": target}


def _offsets_around(box: tf.Tensor, extent: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the smallest and the largest offset, [2] int32, of windows that contain a box.

    Example: an axis of 100 pixels, the box 40 to 50.5, a window of 20. Its offset is 31 (the window ends at 51) to 40. A box from
    10 to 60 is longer than the window: the offset is 10 to 40.
    """
    top_left, bottom_right = tf.cast(tf.floor(box[:2]), tf.int32), tf.cast(tf.math.ceil(box[2:]), tf.int32)
    ends = top_left, bottom_right - extent
    return tuple(tf.clip_by_value(choose(*ends), 0, room) for choose in (tf.minimum, tf.maximum))


def resize_image(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns a [h, w, C] uint8 image resized bilinearly to `target` ([2] int32), without antialiasing."""
    # For float32, TensorFlow has a vectorized kernel: nearly twice as fast as for uint8, with the same results.
    pixels = tf.cast(image, tf.float32)[tf.newaxis]
    resized = tf.raw_ops.ResizeBilinear(images=pixels, size=target, half_pixel_centers=True)
    return tf.cast(resized[0] + 0.5, tf.uint8)


def resize_image_smoothly(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Does the same as `resize_image`, but with antialiasing if the image is reduced."""
    shrinks = tf.reduce_any(target < tf.shape(image)[:2])
    return tf.cond(shrinks, lambda: _shrink(image, target), lambda: resize_image(image, target))


def rescale(image: tf.Tensor, scale: float) -> tf.Tensor:
    """Returns a [h, w, C] uint8 image resized by a factor, to `windows.scaled_size`."""
    if scale == 1:
        return image
    sides = tf.round(tf.cast(tf.shape(image)[:2], tf.float64) * scale)
    return resize_image_smoothly(image, tf.maximum(tf.cast(sides, tf.int32), 1))


def _shrink(image: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(tf.image.resize(image, target, antialias=True)), tf.uint8)


def is_mirrored(seed: tf.Tensor) -> tf.Tensor:
    """Returns whether the example with this seed is mirrored, scalar bool, with a probability of one half."""
    return tf.random.stateless_uniform([], tf.random.experimental.stateless_fold_in(seed, _FLIP)) < 0.5


def resize_labels(labels: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns [h, w] labels resized to `target` ([2] int32) by nearest neighbour."""
    size = tf.shape(labels)
    rows, columns = (
        tf.cast((tf.cast(tf.range(target[axis]), tf.float32) + 0.5) * tf.cast(size[axis] / target[axis], tf.float32), tf.int32)
        for axis in (0, 1)
    )
    # Whole rows are gathered, and the columns as rows of the transpose: gathering single pixels takes five times as long.
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
    """Changes brightness, contrast and saturation randomly.

    Brightness and contrast of all channels change together. Saturation is only defined, and only changed, for three channels.

    Args:
      image: [H, W, C] uint8.
      strength: each of the three is multiplied by a factor between 1 - strength and 1 + strength.
      seed: [2] int, the seed of this example.

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

"""Reading and applying the Exif orientation of a JPEG in a graph, because TensorFlow's decoder ignores it.

The orientation is entry 0x0112 of the first directory of a TIFF structure in an APP1 segment that begins with `Exif` (CIPA DC-008,
sections 4.5 and 4.6). Most portrait photos of phones have one.
"""

import tensorflow as tf

# The segments before the image data (0xDA) are far smaller than this.
_HEADER_BYTES = 1 << 17
_MOST_SEGMENTS = 64
_EXIF = tf.constant([0x45, 0x78, 0x69, 0x66, 0, 0], tf.int32)


def upright(image: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Applies the Exif orientation of a decoded image.

    Args:
      image: [H, W, C] uint8, the decoded pixels.
      encoded: scalar string, the content of the file.

    Returns:
      [H, W, C] or [W, H, C] uint8.
    """
    number = tf.cond(tf.io.is_jpeg(encoded), lambda: orientation(encoded), lambda: 1)
    # Orientations 5 to 8 are transposed first; then 2, 3, 6 and 7 are flipped horizontally, and 3, 4, 7 and 8 vertically.
    num_channels = image.shape[2]
    image = tf.cond(number >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(_is_one_of(number, (2, 3, 6, 7)), lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cond(_is_one_of(number, (3, 4, 7, 8)), lambda: tf.reverse(image, [0]), lambda: image)
    return tf.ensure_shape(image, [None, None, num_channels])


def _is_one_of(number: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(number == tf.constant(values))


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the Exif orientation of a JPEG, scalar int32 in 1..8; 1 (upright) if there is none."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _HEADER_BYTES), tf.uint8), tf.int32)
    # Reading beyond the end returns zeros, which are not a marker.
    data = tf.pad(data, [(0, 16)])
    last = tf.size(data) - 1

    def at(place: tf.Tensor) -> tf.Tensor:
        return tf.gather(data, tf.clip_by_value(place, 0, last))

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        return (at(place + 1) == 0xE1) & tf.reduce_all(at(place + 4 + tf.range(6)) == _EXIF)

    def has_next(place: tf.Tensor) -> tf.Tensor:
        is_segment = (at(place) == 0xFF) & (at(place + 1) != 0xDA)
        return (place < last) & is_segment & ~is_exif(place)

    def find_next(place: tf.Tensor) -> tuple[tf.Tensor]:
        return (place + 2 + at(place + 2) * 256 + at(place + 3),)

    (place,) = tf.while_loop(has_next, find_next, (tf.constant(2),), maximum_iterations=_MOST_SEGMENTS)
    found = (at(place) == 0xFF) & is_exif(place)
    return tf.cond(found, lambda: _read_entry(data, place + 10), lambda: 1)


def _read_entry(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the TIFF structure that begins at `start`."""
    last = tf.size(data) - 1
    is_little = data[tf.minimum(start, last)] == 0x49

    def short(place: tf.Tensor) -> tf.Tensor:
        first, second = (tf.gather(data, tf.clip_by_value(place + offset, 0, last)) for offset in (0, 1))
        return tf.where(is_little, first + 256 * second, 256 * first + second)

    low, high = tf.where(is_little, 4, 6), tf.where(is_little, 6, 4)
    directory = start + short(start + low) + 65536 * tf.minimum(short(start + high), 1)
    entries = directory + 2 + 12 * tf.range(tf.minimum(short(directory), 512))
    values = tf.boolean_mask(short(entries + 8), short(entries) == 0x0112)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)

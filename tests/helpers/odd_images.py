"""Encoded images that few programs write."""

import io
import struct
import zlib

import numpy as np
import PIL.Image


def encode(pixels, kind="PNG", **options):
    """Returns an array's or a Pillow image's bytes in a format."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(pixels, orientation, kind="JPEG", **options):
    """Returns an image whose EXIF data has an orientation."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, kind, exif=exif, **options)


def png_of_16_bits(values):
    """Returns a PNG of [H, W, 3] uint16 colours, or [H, W, 4] with transparency, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return _png(width, height, 16, {3: 2, 4: 6}[channels], zlib.compress(rows))


def bomb(width=60000, height=60000):
    """Returns a small PNG with a grey pixel's bytes for each of its billions of pixels, as far as they are read."""
    return _png(width, height, 8, 0, zlib.compress(bytes(1 << 20)))


def _png(width, height, bits, kind, data):
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = b"".join(_chunk(name, content) for name, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def scene(height=37, width=53, seed=0):
    """Returns [H, W, 3] uint8 with smooth colours and grain."""
    random = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(random.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + random.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)

"""Sizes of images, from the beginnings of their files.

Worker processes import this module, so it does not import TensorFlow.
"""

import PIL.Image

from tpuseg.io import image_channels, image_files


def upright_size(path: str) -> tuple[int, int]:
    """Returns height and width of an image after its EXIF orientation is applied. Its pixels are not decoded.

    Raises:
      ValueError: the file is missing, or is not an image; the message names it.
    """
    name = image_files.printable(path)
    try:
        with PIL.Image.open(path, formats=image_files.formats()) as image:
            width, height = image.size
            orientation = image_files.orientation_of(image)
    except PIL.UnidentifiedImageError:
        found = image_channels.tiff_size(path)  # Pillow does not read TIFFs with more than four bands.
        if found:
            return found
        raise ValueError(f"{name} cannot be read as an image: it is none of {', '.join(image_files.formats())}") from None
    except PIL.Image.DecompressionBombError as error:
        found = image_channels.tiff_size(path)  # Windows of a TIFF can be read, whatever its size is.
        if found:
            return found
        raise ValueError(f"{name} cannot be read as an image: {error}; make it smaller, or cut it into tiles") from error
    except (OSError, *image_files.UNREADABLE) as error:
        raise ValueError(f"{name} cannot be read as an image: {' '.join(str(error).split())[:200]}") from error
    return (width, height) if orientation >= 5 else (height, width)

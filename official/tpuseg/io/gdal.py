"""Loading rasterio, whose wheel contains GDAL, and the settings with which GDAL runs.

rasterio is optional (`pip install tpuseg[large-images]`) and is imported when it is first needed.
"""

import functools
import logging
import warnings
from typing import Any

INSTALL = "pip install tpuseg[large-images]"
# Decoded blocks that GDAL keeps. By default it takes a twentieth of the memory of the machine.
CACHE_BYTES = 64 << 20


@functools.cache  # Adding a filter makes Python show other warnings again.
def load() -> Any:
    """Returns the module `rasterio`.

    Raises:
      ImportError: it is not installed, or a library that it needs is missing.
    """
    import rasterio
    import rasterio.errors
    import rasterio.features
    import rasterio.windows

    # A message is logged for every error, which also becomes an exception.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)
    # Most images have no position on the earth.
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def require(purpose: str) -> Any:
    """Returns the module `rasterio`.

    Args:
      purpose: what it is needed for, as the beginning of the message: `tracing masks`.

    Raises:
      ValueError: it cannot be imported; the message says how to install it.
    """
    try:
        return load()
    except ImportError as error:
        raise ValueError(f"{purpose} needs rasterio ({error}): {INSTALL}") from error


def environment(cache_bytes: int = CACHE_BYTES) -> Any:
    """Returns a context manager with the settings of GDAL; every call of GDAL belongs into one.

    Args:
      cache_bytes: memory for decoded blocks.
    """
    # rasterio passes this number to GDAL in bytes, while the environment variable of this name may be in megabytes.
    return load().Env(GDAL_CACHEMAX=cache_bytes)


def describe(error: Exception) -> str:
    """Returns the message of an error of rasterio in one line; the reason that GDAL gave is its cause."""
    return " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__

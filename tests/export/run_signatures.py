"""Runs the signatures of SavedModels in a process that has TensorFlow alone; a script.

Usage: python run_signatures.py IMAGES.npz MODEL...

Writes MODEL.npz with `signature/image/output` for every image (uint8 arrays) and its encoded file (`bytes/NAME`).
"""

import sys

for name in ("tpuseg", "official", "orbit", "tf_keras", "pycocotools"):
    sys.modules[name] = None  # Importing any of them fails from here on.

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def run(signatures, images):
    """Yields names and values of all outputs."""
    yield "class_names", signatures["class_names"]()["class_names"].numpy().astype(bytes)
    encoded = {name.removeprefix("bytes/"): images[name].tobytes() for name in images.files if name.startswith("bytes/")}
    for name in images.files:
        if not name.startswith("bytes/"):
            yield from named(f"images/{name}", signatures["images"](images=tf.constant(images[name][None])))
    for name, content in encoded.items():
        yield from named(f"bytes/{name}", signatures["serving_default"](image_bytes=tf.constant([content])))
    _, height, width, _ = signatures["fixed"].structured_input_signature[1]["images"].shape
    yield from named("fixed", signatures["fixed"](images=tf.constant(images["large"][None, :height, :width])))
    together = tf.constant(list(encoded.values()))
    yield from named("batch", signatures["serving_default"](image_bytes=together))
    if "compact" in signatures:
        yield from named("compact", signatures["compact"](image_bytes=together))


def named(prefix, outputs):
    """Yields a signature's outputs."""
    for name, value in outputs.items():
        yield f"{prefix}/{name}", value.numpy()


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    for path in sys.argv[2:]:
        loaded = tf.saved_model.load(path)
        np.savez(path + ".npz", **dict(run(loaded.signatures, given)))

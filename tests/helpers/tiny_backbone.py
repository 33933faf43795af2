"""The backbone of five convolutions from the examples, for tests of what surrounds a network: it is traced in a second."""

import examples.tiny_backbone  # noqa: F401 - Registers it.

OVERRIDE = "task.model.backbone.type=tiny,task.model.backbone.tiny.num_filters=8"

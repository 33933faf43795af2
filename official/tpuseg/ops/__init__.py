"""Functions on tensors and arrays that both architectures use: boxes, masks, images, sorting."""

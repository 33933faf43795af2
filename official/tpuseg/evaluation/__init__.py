"""The metrics of COCO and of VOC."""

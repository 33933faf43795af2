"""ROI align (Mask R-CNN, arXiv:1703.06870, section 3) in the forms that each device runs fastest."""

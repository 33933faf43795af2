"""Replacing strides by atrous rates, for all backbones (arXiv:1706.05587, section 3.1)."""

import dataclasses


@dataclasses.dataclass
class StrideBudget:
    """Keeps strides until the output stride is reached, and replaces later ones by atrous rates.

    A layer whose stride is dropped keeps the current rate, and the layers after it get the larger rate. The values at all positions
    that the strided network computes are therefore unchanged. For output stride 16, after a stem of stride 4:

        strides of the network     2          2          2
        this class returns         (2, 1)     (2, 1)     (1, 1)     and (1, 2) for the following layers

    Attributes:
      output_stride: largest stride of the features.
      stride: stride of the layers so far.
      rate: atrous rate of the next layer.
    """

    output_stride: int
    stride: int = 1
    rate: int = 1

    def spend(self, stride: int) -> tuple[int, int]:
        """Returns (stride, rate) for the next layer, which has `stride` in the network without atrous rates."""
        if stride == 1:
            return 1, self.rate
        if self.stride * stride <= self.output_stride:
            self.stride *= stride
            return stride, self.rate
        rate = self.rate
        self.rate *= stride
        return 1, rate

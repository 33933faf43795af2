"""Strides traded for atrous rates, the same way in every backbone (arXiv:1706.05587, section 3.1)."""

import dataclasses


@dataclasses.dataclass
class StrideBudget:
    """Strides until the output stride is reached, then atrous rates instead.

    The layer whose stride is dropped still sees its input at the rate so far; those after it get the larger rate. So the values
    at every position that the strided network computes stay the same.

    Attributes:
      output_stride: how much smaller than the image the features may become.
      stride: so far.
      rate: of the next layer.
    """

    output_stride: int
    stride: int = 1
    rate: int = 1

    def spend(self, stride: int) -> tuple[int, int]:
        """Returns (stride, rate) for a layer that has `stride` in the plain network."""
        if stride == 1:
            return 1, self.rate
        if self.stride * stride <= self.output_stride:
            self.stride *= stride
            return stride, self.rate
        rate = self.rate
        self.rate *= stride
        return 1, rate

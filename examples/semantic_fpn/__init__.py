"""A third architecture: Panoptic FPN's semantic branch (arXiv:1901.02446, section 3.2).

python official/train.py --experiment=examples/semantic_fpn/semantic_fpn_shapes.yaml
"""

from tpuseg import registry

from .architecture import SemanticFpn

registry.architectures.register("semantic_fpn")(SemanticFpn())

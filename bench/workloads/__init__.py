"""The networks and steps of PyTorch's side, by the name that both sides give them."""

from .brush import Brush
from .dcgan import Dcgan
from .dfgan import Dfgan
from .r3gan import R3gan
from .texts import MleLstm, MleTransformer, Seqgan

WORKLOADS = {
    "dcgan-64": Dcgan,
    "brush-64": Brush,
    "dfgan-64": Dfgan,
    "r3gan-64": R3gan,
    "mle-lstm": MleLstm,
    "seqgan": Seqgan,
    "mle-transformer": MleTransformer,
}

"""Training algorithms: one optimizer per file; hyper-parameters that are numbers may be vectors over replicas.

An algorithm is a frozen value: `start(weights)` makes its state, `step(...)` changes the weights in place, `take` gives
the algorithm for some of the replicas. Gradients and weights come as one array (replica, parameter); rates as
(replica, 1). Algorithms wrap each other: `Masked(Clipped(SAM(SGD(0.9), rho=0.1), norm=1.0), mask)`.
"""

from refute.algorithms.adam import Adam
from refute.algorithms.clipped import Clipped
from refute.algorithms.interface import Again, Algorithm, State
from refute.algorithms.layca import Layca
from refute.algorithms.masked import Masked, mask_of
from refute.algorithms.sam import SAM
from refute.algorithms.sgd import SGD
from refute.algorithms.supermask import Supermask

__all__ = ["SAM", "SGD", "Adam", "Again", "Algorithm", "Clipped", "Layca", "Masked", "State", "Supermask", "mask_of"]

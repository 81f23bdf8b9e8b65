"""Training algorithms: one optimizer per file; hyper-parameters that are numbers may be vectors over replicas.

An algorithm is a frozen value with two methods: `start(weights)` makes its state, `step(...)` changes the weights in
place. Gradients and weights come as one array (replica, parameter); rates as (replica, 1).
"""

from refute.algorithms.adam import Adam
from refute.algorithms.interface import Algorithm, State
from refute.algorithms.layca import Layca
from refute.algorithms.sgd import SGD

__all__ = ["SGD", "Adam", "Algorithm", "Layca", "State"]

"""Instruments: the measuring devices, one per file; every result leads with the axis `replica`."""

from refute.instruments.accuracy import accuracy, training_accuracy
from refute.instruments.criticality import joint_reset_accuracy, layer_distances, norm_matched, reset_accuracy
from refute.instruments.ranking import kendall_tau
from refute.instruments.rotation import layer_rotation

__all__ = [
    "accuracy",
    "joint_reset_accuracy",
    "kendall_tau",
    "layer_distances",
    "layer_rotation",
    "norm_matched",
    "reset_accuracy",
    "training_accuracy",
]

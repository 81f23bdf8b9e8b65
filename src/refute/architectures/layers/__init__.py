"""Layers as frozen values: which tensors they own, and how they map activations of a whole cohort."""

from refute.architectures.layers.combination import Chain, Residual
from refute.architectures.layers.convolution import Convolution
from refute.architectures.layers.dense import Dense
from refute.architectures.layers.elementwise import Activation, Flatten, GlobalAveragePool, MaxPool
from refute.architectures.layers.fused import Fused, fused
from refute.architectures.layers.interface import Differentiated, Layer, Shape, Slot, Step, Tensors
from refute.architectures.layers.normalization import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, BatchNorm
from refute.architectures.layers.perceptron import Perceptron, PerceptronStep, perceptrons, whole
from refute.architectures.layers.renamed import Renamed
from refute.architectures.layers.stem import Stem, stemmed

__all__ = [
    "BATCH_NORM_EPSILON",
    "BATCH_NORM_MOMENTUM",
    "Activation",
    "BatchNorm",
    "Chain",
    "Convolution",
    "Dense",
    "Differentiated",
    "Flatten",
    "Fused",
    "GlobalAveragePool",
    "Layer",
    "MaxPool",
    "Perceptron",
    "PerceptronStep",
    "Renamed",
    "Residual",
    "Shape",
    "Slot",
    "Stem",
    "Step",
    "Tensors",
    "fused",
    "perceptrons",
    "stemmed",
    "whole",
]

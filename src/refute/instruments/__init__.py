"""Instruments: the measuring devices, one family per file; every result leads with the axis `replica`."""

from refute.instruments.accuracy import accuracy, training_accuracy
from refute.instruments.activations import LayerOutputs, layer_outputs
from refute.instruments.alignment import Alignment, align
from refute.instruments.angular_hardness import AngularHardness, angular_hardness, plateau_time
from refute.instruments.association import Area, auroc, balanced_accuracy, best_threshold, partial_spearman, spearman
from refute.instruments.bezier import Curve, train_curve
from refute.instruments.cka import Similarity, cka_matrix, hsic, linear_cka
from refute.instruments.concentration import Concentration, TypeMeans, concentration, saturated_share, type_means
from refute.instruments.confidence import Confidence, Temperature, confidence, fit_temperature, sorted_shares
from refute.instruments.corruptions import CorruptionAccuracy, corrupt, corruption_accuracy
from refute.instruments.covariate_shift import (
    GradientShift,
    InputDrift,
    StepSmoothness,
    gradient_shift,
    input_drift,
    step_smoothness,
)
from refute.instruments.critical import CriticalSharpness, critical_sharpness, stability_threshold
from refute.instruments.criticality import joint_reset_accuracy, layer_distances, norm_matched, reset_accuracy
from refute.instruments.dead_units import FilterActivity, filter_activity, smallest_scales, without_filters
from refute.instruments.directional import GradientCurvature, StepCurvature, gradient_curvature, step_curvature
from refute.instruments.effective_dimension import (
    DimensionProfile,
    EffectiveDimension,
    dimension_profile,
    dimensions_of,
    effective_dimension,
    within_share,
)
from refute.instruments.eigenvalues import Eigenvalues, eigenvalues
from refute.instruments.features import LastLayer, last_layer, penultimate, pooled, projected, representations
from refute.instruments.gradient_norms import (
    GradientCosines,
    GradientNorms,
    gradient_cosines,
    gradient_norms,
    growth_per_layer,
)
from refute.instruments.half_radius import HalfRadius, half_accuracy_noise, half_accuracy_radius
from refute.instruments.hessian import Curvature, curvature, hessian_product
from refute.instruments.interface import trusted
from refute.instruments.layer_norms import LayerNorms, Ranks, convolution_norms, layer_norms, ranks_of
from refute.instruments.linear_probes import LinearProbe, logistic_probe, ridge_probe
from refute.instruments.modes import (
    crossing_times,
    exact_curve,
    fit_exact_curves,
    half_times,
    mode_strengths,
    plateau_count,
    rates,
    separated,
    singular_modes,
    whiten,
)
from refute.instruments.neural_collapse import (
    ClassMeans,
    NeuralCollapse,
    class_means,
    nearest_mean,
    nearest_mean_accuracy,
    neural_collapse,
)
from refute.instruments.pac_bayes import PacBayes, pac_bayes_sigma
from refute.instruments.paths import (
    Barrier,
    Crossings,
    Profile,
    barrier,
    crossings,
    disagreement,
    line_profile,
    linear_barrier,
)
from refute.instruments.perturbation import average_sharpness, sam_sharpness
from refute.instruments.ranking import kendall_tau
from refute.instruments.recurrent_gradients import StepGradients, step_gradients
from refute.instruments.relative_flatness import FisherRao, RelativeFlatness, fisher_rao_norm, relative_flatness
from refute.instruments.reproduction import Reproduction, reproduction
from refute.instruments.robustness import RobustAccuracy, robust_accuracy
from refute.instruments.rotation import layer_rotation
from refute.instruments.sharpness import EpsilonSharpness, epsilon_sharpness
from refute.instruments.spectrum import Spectrum, spectral_density
from refute.instruments.steps import Steps, relative_distance, step_angles, successive_cosines
from refute.instruments.trace import Trace, trace
from refute.instruments.working_range import WorkingRange, working_range

__all__ = [
    "Alignment",
    "AngularHardness",
    "Area",
    "Barrier",
    "ClassMeans",
    "Concentration",
    "Confidence",
    "CorruptionAccuracy",
    "CriticalSharpness",
    "Crossings",
    "Curvature",
    "Curve",
    "DimensionProfile",
    "EffectiveDimension",
    "Eigenvalues",
    "EpsilonSharpness",
    "FilterActivity",
    "FisherRao",
    "GradientCosines",
    "GradientCurvature",
    "GradientNorms",
    "GradientShift",
    "HalfRadius",
    "InputDrift",
    "LastLayer",
    "LayerNorms",
    "LayerOutputs",
    "LinearProbe",
    "NeuralCollapse",
    "PacBayes",
    "Profile",
    "Ranks",
    "RelativeFlatness",
    "Reproduction",
    "RobustAccuracy",
    "Similarity",
    "Spectrum",
    "StepCurvature",
    "StepGradients",
    "StepSmoothness",
    "Steps",
    "Temperature",
    "Trace",
    "TypeMeans",
    "WorkingRange",
    "accuracy",
    "align",
    "angular_hardness",
    "auroc",
    "average_sharpness",
    "balanced_accuracy",
    "barrier",
    "best_threshold",
    "cka_matrix",
    "class_means",
    "concentration",
    "confidence",
    "convolution_norms",
    "corrupt",
    "corruption_accuracy",
    "critical_sharpness",
    "crossing_times",
    "crossings",
    "curvature",
    "dimension_profile",
    "dimensions_of",
    "disagreement",
    "effective_dimension",
    "eigenvalues",
    "epsilon_sharpness",
    "exact_curve",
    "filter_activity",
    "fisher_rao_norm",
    "fit_exact_curves",
    "fit_temperature",
    "gradient_cosines",
    "gradient_curvature",
    "gradient_norms",
    "gradient_shift",
    "growth_per_layer",
    "half_accuracy_noise",
    "half_accuracy_radius",
    "half_times",
    "hessian_product",
    "hsic",
    "input_drift",
    "joint_reset_accuracy",
    "kendall_tau",
    "last_layer",
    "layer_distances",
    "layer_norms",
    "layer_outputs",
    "layer_rotation",
    "line_profile",
    "linear_barrier",
    "linear_cka",
    "logistic_probe",
    "mode_strengths",
    "nearest_mean",
    "nearest_mean_accuracy",
    "neural_collapse",
    "norm_matched",
    "pac_bayes_sigma",
    "partial_spearman",
    "penultimate",
    "plateau_count",
    "plateau_time",
    "pooled",
    "projected",
    "ranks_of",
    "rates",
    "relative_distance",
    "relative_flatness",
    "representations",
    "reproduction",
    "reset_accuracy",
    "ridge_probe",
    "robust_accuracy",
    "sam_sharpness",
    "saturated_share",
    "separated",
    "singular_modes",
    "smallest_scales",
    "sorted_shares",
    "spearman",
    "spectral_density",
    "stability_threshold",
    "step_angles",
    "step_curvature",
    "step_gradients",
    "step_smoothness",
    "successive_cosines",
    "trace",
    "train_curve",
    "training_accuracy",
    "trusted",
    "type_means",
    "whiten",
    "within_share",
    "without_filters",
    "working_range",
]

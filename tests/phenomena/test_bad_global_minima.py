"""Bad global minima: the confusion set, shuffled weights, and the same start giving the same end."""

import torch

from refute import architectures, datasets
from refute.core import Cohort, make_trials
from refute.engine import cohorts, plan
from refute.phenomena.bad_global_minima import PHENOMENON, confusion_set, shuffled, trial

DATA = datasets.load("digits", train=40, test=50, seeds=[0, 1], standardize=True)


def test_the_confusion_set_has_the_asked_for_black_entries_and_labels() -> None:
    sets = confusion_set(DATA, 3, 0.25, [0, 1])
    black = DATA.inputs.min()
    for kind in ("random", "true", "permuted"):
        assert sets[kind].index.shape == (2, 120)
        assert torch.equal(sets[kind].inputs, sets["random"].inputs), "the same images under every kind of labels"
    inputs, labels = sets["true"].first(120)
    original, own = DATA.first(40)
    assert torch.equal(labels, own.repeat(1, 3))
    changed = inputs != original.repeat(1, 3, 1, 1, 1)
    assert (inputs[changed] == black).all()
    shares = (inputs == black).flatten(2).double().mean(dim=2)
    assert (shares >= 0.25).all(), "a quarter of the entries of every copy is black"
    assert int(changed.flatten(2).sum(dim=2).max()) <= 16
    permuted = sets["permuted"].labels
    for replica in range(2):
        names = {(int(a), int(b)) for a, b in zip(labels[replica], permuted[replica], strict=True)}
        assert len(names) == len({a for a, _ in names}) == len({b for _, b in names}), "one name per class"
    random = confusion_set(DATA, 200, 0.1, [0, 1])["random"].labels
    counts = torch.stack([torch.bincount(row, minlength=10) for row in random])
    assert torch.allclose(counts / random.shape[1], torch.tensor(0.1), atol=0.02), "uniform, whatever the true class"


def test_packing_changes_no_confusion_set() -> None:
    both = confusion_set(DATA, 2, 0.1, [0, 1])["random"]
    alone = confusion_set(DATA.take_replicas(slice(1, 2)), 2, 0.1, [1])["random"]
    assert torch.equal(both.first(80).inputs[1:], alone.first(80).inputs)
    assert torch.equal(both.labels[1:], alone.labels)


def test_shuffled_weights_keep_every_tensors_numbers() -> None:
    weights = architectures.build("mlp", (8,), 3, depth=1, width=5).initialize([0, 1])
    mixed = shuffled(weights, [0, 1])
    for name in weights:
        assert torch.equal(mixed[name].flatten(1).sort(dim=1).values, weights[name].flatten(1).sort(dim=1).values)
    assert not torch.equal(mixed["dense1.weight"], weights["dense1.weight"])


def cohort(**levels: object) -> Cohort:
    settings = next(t.settings for t in plan(PHENOMENON, "smoke"))
    full = {"dataset": "digits", "architecture": "mlp", **levels}
    trials = make_trials(PHENOMENON, full, (0, 1), settings)  # type: ignore[arg-type]
    return cohorts(PHENOMENON, trials, size=2, device="cpu")[0]


def test_without_a_first_phase_there_is_no_gap() -> None:
    found = trial(cohort(epochs=0))
    assert found["gap"].tolist() == [0.0, 0.0], "both starts are the same, and so is the order of the data"


def test_the_recipes_are_measured_in_the_main_arm_only() -> None:
    main, dose = trial(cohort()), trial(cohort(epochs=2))
    assert main["gap_full"].isfinite().all()
    assert main["gap_true"].isfinite().all()
    assert dose["gap_full"].isnan().all()
    assert (main["rescue"] == main["gap"] - main["gap_full"]).all()

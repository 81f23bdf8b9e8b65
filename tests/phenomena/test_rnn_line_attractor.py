"""The entry on line attractors: its own numbers in closed form, its linear account against the net itself."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refute.core import Cohort, make_trial
from refute.datasets.sequences import word_sequences
from refute.engine import measure
from refute.phenomena import rnn_line_attractor as entry
from refute.phenomena.rnn_line_attractor import PHENOMENON, attractor_break, counts, line_margin

SMOKE = PHENOMENON.protocol("smoke").settings


def cohort(architecture: str = "gru", task: str = "evidence", dataset: str = "valences", seeds: int = 2) -> Cohort:
    levels = {"dataset": dataset, "architecture": architecture, "task": task}
    trials = tuple(make_trial(PHENOMENON, levels, 1000 + block, SMOKE) for block in range(seeds))
    return Cohort(trials, levels, {}, SMOKE)


@cache
def measured(architecture: str, task: str, dataset: str) -> dict[str, Any]:
    return dict(PHENOMENON.trial(cohort(architecture, task, dataset)))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_margin_is_the_least_of_its_parts() -> None:
    found = line_margin(
        column(0.8, 0.4, 0.9, 0.9, math.nan),
        column(0.1, 0.9, 0.9, 0.9, math.nan),
        column(9, 9, 0.25, 9, 9),
        column(0.01, 0.01, 0.01, 0.5, 0.01),
    )
    torch.testing.assert_close(found, column(1, 1, 0.5, 0.5, 0))


def test_a_line_breaks_where_it_is_short_or_has_a_hole() -> None:
    found = attractor_break(column(0.1, 0.9, 0.9, 0.0), column(0.1, 0.9, 0.1, 1.0))
    assert (found <= 1).tolist() == [True, True, False, True]


def test_words_are_counted_without_padding() -> None:
    tokens = word_sequences("evidence", 30, 9, [0], "test").inputs[0]
    tokens[:, :2] = 0
    found = counts(tokens, 41).toarray()
    expected = np.stack([np.bincount(row, minlength=41) for row in tokens.numpy()])
    expected[:, 0] = 0
    np.testing.assert_array_equal(found, expected)


def test_shuffling_keeps_the_words_and_the_padding() -> None:
    given = cohort()
    tokens = word_sequences("evidence", 20, 9, given.seeds, "test").inputs
    tokens[:, ::2, :3] = 0
    found = entry._shuffled(given, tokens)
    assert not torch.equal(found, tokens)
    torch.testing.assert_close(found.sort(dim=2).values, tokens.sort(dim=2).values)
    assert torch.equal(found == 0, tokens == 0)


@pytest.mark.parametrize("architecture", ["gru", "lstm", "rnn"])
def test_the_reader_decides_as_the_network_does(architecture: str) -> None:
    given = cohort(architecture)
    task = entry._task(given)
    network = entry._network(given, task)
    weights = network.initialize(given.seeds)
    reader = entry._reader(given, weights, task)
    visit = entry._visit(given, reader, task, 10)
    outputs = network.evaluate(weights, task.test.inputs[:, : visit.states.shape[1]])
    logit = (visit.states[:, :, -1] @ reader.readout.unsqueeze(2)).squeeze(2) + reader.bias.unsqueeze(1)
    torch.testing.assert_close(logit.float(), outputs[..., 1] - outputs[..., 0], rtol=1e-4, atol=1e-5)
    cloud = entry._cloud(visit)
    assert cloud.shape[1] == visit.states.shape[1] * (9 - entry.TRANSIENT)
    kick = visit.tolerance / entry.KICK
    moves = (visit.states[:, :, 1:] - visit.states[:, :, :-1]).norm(dim=3).flatten(1)
    assert (kick < 2 * moves.amax(dim=1)).all()


def test_padding_is_no_state_and_no_kick() -> None:
    given = cohort()
    task = entry._task(given)
    task.test.inputs[:, :, :3] = 0  # as in front of a short review
    network = entry._network(given, task)
    reader = entry._reader(given, network.initialize(given.seeds), task)
    visit = entry._visit(given, reader, task, 50)
    assert (visit.tolerance > 0).all()
    padded = visit.states[:, :, :3].flatten(1, 2)
    assert torch.cdist(visit.starts, padded).min() > 1e-9
    assert entry._cloud(visit).shape[1] == visit.states.shape[1]  # one word of six is after the transient


@pytest.mark.parametrize(
    ("task", "dataset"),
    [("evidence", "valences"), ("evidence", "digits"), ("three", "valences"), ("shuffled", "valences")],
)
def test_a_trial_returns_what_is_declared(task: str, dataset: str) -> None:
    found = measured("gru", task, dataset)
    assert set(found) == {*PHENOMENON.quantities, "diverged"}
    assert not found["diverged"].any()
    assert len(measure(PHENOMENON, cohort("gru", task, dataset))) == 2
    if task == "three":
        assert found["valence_correlation"].isnan().all()
        assert found["surrogate_agreement"].isnan().all()
        assert (found["two_shares"] >= found["line_share"]).logical_or(found["two_shares"].isnan()).all()
    else:
        assert found["valence_correlation"].abs().le(1).all()
    torch.testing.assert_close(found["excess_accuracy"], found["test_accuracy"] - found["bag_accuracy"])
    middle = found["tolerance_margin"][0][:, 1]
    torch.testing.assert_close(middle, found["line_margin"])


def test_packing_replicas_otherwise_changes_nothing() -> None:
    whole = measured("gru", "evidence", "valences")
    first = cohort(seeds=1)
    alone = PHENOMENON.trial(first)
    for name in ("test_accuracy", "bag_accuracy", "participation", "slow_points", "extent", "valence_correlation"):
        torch.testing.assert_close(alone[name][0], whole[name][0], rtol=1e-3, atol=1e-3, equal_nan=True)


def test_what_a_claim_asks_of_reviews_is_that_they_are_read() -> None:
    evidence = [claim for claim in PHENOMENON.claims if "evidence" in claim.among.get("task", ())]
    assert all(set(entry.READS) <= set(claim.where) for claim in evidence if claim.id != "C5-untrained")

"""The whole flow. Read this file first: no call goes back."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from refute.core import Failure, Outcome, Phenomenon, Progress, Result, Results, Trial, Verdict
from refute.engine import cohorts, execute, plan
from refute.judge import judge
from refute.store import Store

JUDGE_EVERY_SECONDS = 2.0
"""How often a live table gets new running verdicts, at most."""
JUDGING_SHARE = 0.05
"""Most of the driver's time that goes into running verdicts: with many trials they come less often."""


def run(
    phenomenon: Phenomenon,
    *,
    scale: str = "small",
    seeds: int | None = None,
    first_seed: int = 0,
    only: Mapping[str, Sequence[str]] | None = None,
    own_copies: Mapping[str, str] | None = None,
    lab: Path = Path("lab"),
    workers: int | None = None,
    device: str = "cpu",
    executor: str = "local",
    memory: int | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,  # noqa: ARG005
) -> Outcome:
    """Train what is missing, then judge: plan -> store.missing -> cohorts -> execute -> store.add -> judge.

    Args:
        phenomenon: from `refute.catalogue.get`, or your own.
        scale: "smoke", "small" or "full".
        seeds: seeds (blocks) of every grid; the protocol's own numbers by default.
        first_seed: number of the first seed; verdicts start at 0, pilot runs at 1000.
        only: factor -> levels (as text) to keep.
        own_copies: data set -> identity of a user's own, different copy (see `refute.datasets.use_local`).
        lab: where results are stored; what is already there is not trained again.
        workers: worker processes with one thread each; by default as many as cores. 0 means in this process.
        device: "cpu", "cuda", "cuda:0" ...
        executor: "local", "ray" or "ray://HOST:PORT", see `refute.engine.execute`.
        memory: bytes that the workers of this machine may take together; by default what is free.
        watch: is told about progress after every cohort.

    Returns:
        The outcome, ready for `refute.report`. Trials that could not be run are its `failures`; verdicts are made from
        the others, and the next run tries only what is missing.
    """
    started = time.monotonic()
    trials = plan(phenomenon, scale, seeds=seeds, first_seed=first_seed, only=only, own_copies=own_copies)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store(lab)
        results = store.results(trials)
        missing = [trial for trial in trials if trial.key not in results]
        packed = cohorts(phenomenon, missing, size=phenomenon.protocol(scale).cohort, device=device)
        teller = _Teller(phenomenon, scale, trials, len(packed), len(results), watch, started)
        failures = []
        for one in execute(phenomenon, packed, workers=workers, executor=executor, memory=memory, tell=teller.message):
            if isinstance(one, Failure):
                failures.append(one)
                continue
            path = store.add(one.cohort, one.results, one.provenance, one.seconds)
            results.add(path, one.results, curves=any(result.curves for result in one.results))
            teller.finished(one.results, results)
        outcome = _outcome(phenomenon, scale, trials, store, results, len(missing), started, caught, failures)
        teller.ended(outcome.verdicts)
        return outcome


def stored(
    phenomenon: Phenomenon,
    *,
    scale: str = "small",
    seeds: int | None = None,
    first_seed: int = 0,
    only: Mapping[str, Sequence[str]] | None = None,
    own_copies: Mapping[str, str] | None = None,
    lab: Path = Path("lab"),
) -> Outcome:
    """Judge what is stored; train nothing."""
    started = time.monotonic()
    trials = plan(phenomenon, scale, seeds=seeds, first_seed=first_seed, only=only, own_copies=own_copies)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store(lab)
        return _outcome(phenomenon, scale, trials, store, store.results(trials), 0, started, caught, ())


def _outcome(
    phenomenon: Phenomenon,
    scale: str,
    trials: tuple[Trial, ...],
    store: Store,
    results: Results,
    missing: int,
    started: float,
    caught: Sequence[warnings.WarningMessage],
    failures: Sequence[Failure],
) -> Outcome:
    verdicts = judge(phenomenon, trials, results)
    return Outcome(
        phenomenon=phenomenon,
        scale=scale,
        trials=trials,
        results=results,
        verdicts=verdicts,
        trials_run=missing - len(failures),
        trials_cached=len(results) - (missing - len(failures)),
        diverged=sum(result.diverged for result in results.values()),
        seconds=time.monotonic() - started,
        core_seconds=store.seconds(trials),
        provenance=store.provenance(trials),
        warnings=tuple(dict.fromkeys(str(warning.message) for warning in caught)),
        failures=tuple(failures),
    )


class _Teller:
    """Keeps count of a run and tells its watcher."""

    def __init__(
        self,
        phenomenon: Phenomenon,
        scale: str,
        trials: tuple[Trial, ...],
        cohorts_total: int,
        cached: int,
        watch: Callable[[Progress], None],
        started: float,
    ) -> None:
        self.phenomenon, self.scale, self.trials = phenomenon, scale, trials
        self.cohorts_total, self.cached = cohorts_total, cached
        self.watch, self.started = watch, started
        self.cohorts_done = self.trials_run = self.diverged = 0
        self.judge_at = 0.0
        self.verdicts: tuple[Verdict, ...] = ()
        if cohorts_total:
            self.message("")

    def finished(self, new: Sequence[Result], results: Results) -> None:
        self.cohorts_done += 1
        self.trials_run += len(new)
        self.diverged += sum(result.diverged for result in new)
        began = time.monotonic()
        if began >= self.judge_at:
            self.verdicts = judge(self.phenomenon, self.trials, results)
            ended = time.monotonic()
            self.judge_at = ended + max(JUDGE_EVERY_SECONDS, (ended - began) / JUDGING_SHARE)
        self.message("")

    def ended(self, verdicts: tuple[Verdict, ...]) -> None:
        self.verdicts = verdicts
        if self.cohorts_total:
            self.message("")

    def message(self, text: str) -> None:
        self.watch(
            Progress(
                phenomenon=self.phenomenon,
                scale=self.scale,
                cohorts_done=self.cohorts_done,
                cohorts_total=max(self.cohorts_total, self.cohorts_done),
                trials_run=self.trials_run,
                trials_cached=self.cached,
                trials_planned=len(self.trials),
                diverged=self.diverged,
                seconds=time.monotonic() - self.started,
                verdicts=self.verdicts,
                message=text,
            )
        )

"""The whole flow. Read this file first: no call goes back."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from refute.core import Failure, Outcome, Phenomenon, Progress, Result, Results, Trial, Verdict
from refute.engine import cohorts, execute, plan
from refute.judge import due, judge
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
    """Train what is missing, then judge: plan -> due -> store.missing -> cohorts -> execute -> store.add -> judge.

    Without `seeds` the run goes look by look (5, 10, 20 ... seeds, as the protocol plans): after each only cells go on
    in which a claim is still open, and it ends when every claim is settled or the last look is taken.

    Args:
        phenomenon: from `refute.catalogue.get`, or your own.
        scale: "smoke", "small" or "full".
        seeds: a fixed number of seeds (blocks) of every grid, judged once; by default the protocol's looks.
        first_seed: number of the first seed; verdicts start at 0, pilot runs at 1000.
        only: factor -> levels (as text) to keep.
        own_copies: data set -> identity of a user's own, different copy (see `refute.datasets.use_local`).
        lab: where results are stored; what is already there is not trained again.
        workers: worker processes with one thread each; by default as many as cores. 0 means in this process.
        device: "cpu", "cuda", "cuda:0" ...
        executor: "local", "ray" or "ray://HOST:PORT", see `refute.engine.execute`.
        memory: bytes that the workers of a machine may take together (Ray: of each node); by default what is free.
        watch: is told about progress after every cohort.

    Returns:
        The outcome, ready for `refute.report`. Trials that could not be run are its `failures`; verdicts are made from
        the others, and the next run tries only what is missing.
    """
    started = time.monotonic()
    trials = plan(phenomenon, scale, seeds=seeds, first_seed=first_seed, only=only, own_copies=own_copies)
    looks = phenomenon.protocol(scale).looks if seeds is None else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store(lab)
        results = store.results(trials)
        teller = _Teller(phenomenon, scale, trials, looks, results, watch, started)
        failures: dict[str, Failure] = {}
        while True:
            wanted = due(phenomenon, trials, results, looks)
            missing = [trial for trial in wanted if trial.key not in results and trial.key not in failures]
            if not missing:
                break
            packed = cohorts(phenomenon, missing, size=phenomenon.protocol(scale).cohort, device=device)
            teller.look(len(missing), len(packed))
            for one in execute(
                phenomenon, packed, workers=workers, executor=executor, memory=memory, tell=teller.message
            ):
                if isinstance(one, Failure):
                    failures[one.trial.key] = one
                    continue
                path = store.add(one.cohort, one.results, one.provenance, one.seconds)
                results.add(path, one.results, curves=any(result.curves for result in one.results))
                teller.finished(one.results, results)
        outcome = _outcome(
            phenomenon, scale, trials, looks, store, results, teller.trials_run, started, caught, failures.values()
        )
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
    looks = phenomenon.protocol(scale).looks if seeds is None else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store(lab)
        return _outcome(phenomenon, scale, trials, looks, store, store.results(trials), 0, started, caught, ())


def _outcome(
    phenomenon: Phenomenon,
    scale: str,
    trials: tuple[Trial, ...],
    looks: tuple[int, ...] | None,
    store: Store,
    results: Results,
    trials_run: int,
    started: float,
    caught: Sequence[warnings.WarningMessage],
    failures: Iterable[Failure],
) -> Outcome:
    verdicts = judge(phenomenon, trials, results, looks)
    needed = {trial.key for trial in due(phenomenon, trials, results, looks)}
    return Outcome(
        phenomenon=phenomenon,
        scale=scale,
        trials=trials,
        results=results,
        verdicts=verdicts,
        trials_run=trials_run,
        trials_cached=len(results) - trials_run,
        diverged=sum(result.diverged for result in results.values()),
        seconds=time.monotonic() - started,
        core_seconds=store.seconds(trials),
        provenance=store.provenance(trials),
        warnings=tuple(dict.fromkeys(str(warning.message) for warning in caught)),
        failures=tuple(failures),
        looks=looks,
        spared=sum(trial.key not in needed and trial.key not in results for trial in trials),
    )


class _Teller:
    """Keeps count of a run and tells its watcher."""

    def __init__(
        self,
        phenomenon: Phenomenon,
        scale: str,
        trials: tuple[Trial, ...],
        looks: tuple[int, ...] | None,
        results: Results,
        watch: Callable[[Progress], None],
        started: float,
    ) -> None:
        self.phenomenon, self.scale, self.trials, self.looks = phenomenon, scale, trials, looks
        self.cached = len(results)
        self.watch, self.started = watch, started
        self.planned = self.cohorts_total = self.cohorts_done = self.trials_run = self.diverged = 0
        self.judge_at = 0.0
        self.verdicts: tuple[Verdict, ...] = ()

    def look(self, missing: int, packed: int) -> None:
        """A new look begins, for which so many trials are missing, in so many cohorts."""
        if self.cohorts_total and self.verdicts:
            settled = sum(verdict.settled for verdict in self.verdicts)
            self.message(
                f"{settled} of {len(self.verdicts)} claims settled after {self.cached + self.trials_run} trials; "
                f"{missing} more for the next look of the cells that are open"
            )
        self.planned = self.cached + self.trials_run + missing
        self.cohorts_total += packed
        self.message("")

    def finished(self, new: Sequence[Result], results: Results) -> None:
        self.cohorts_done += 1
        self.trials_run += len(new)
        self.diverged += sum(result.diverged for result in new)
        began = time.monotonic()
        last = self.cohorts_done >= self.cohorts_total
        if began >= self.judge_at or last:
            self.verdicts = judge(self.phenomenon, self.trials, results, self.looks)
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
                trials_planned=self.planned,
                diverged=self.diverged,
                seconds=time.monotonic() - self.started,
                verdicts=self.verdicts,
                message=text,
            )
        )

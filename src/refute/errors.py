"""The exception tree: every error names the item, what was expected, what came, and what to do.

`UsageError` and its children mean that the caller asked for something wrong (exit code 2);
every other `RefuteError` means that something failed while doing the right thing (exit code 1).
"""

import difflib
from collections.abc import Sequence


class RefuteError(Exception):
    """Anything refute raises on purpose; its text is one sentence for a person."""

    exit_code = 1


class UsageError(RefuteError):
    """The caller asked for something that does not exist or cannot be done."""

    exit_code = 2


class DefinitionError(UsageError):
    """A catalogue item (phenomenon, claim, quantity, protocol, figure) contradicts itself."""


class UnknownNameError(UsageError):
    """A phenomenon, data set, architecture, factor, level or quantity that is not known."""


class ShapeError(UsageError):
    """A tensor argument has the wrong shape, type or content."""


class DataError(RefuteError):
    """A data set could not be fetched, verified or decoded."""


class ChecksumError(DataError):
    """A file or decoded array is not the one that was expected; it is kept out of the cache."""


class StoreError(RefuteError):
    """The lab could not be read or written."""


class JudgementError(RefuteError):
    """Rows that cannot be judged: two values for one trial, units mixed, blocks missing."""


class ExecutionError(RefuteError):
    """Trials could not be run: workers died repeatedly, or a trial function failed."""


class DeterminismWarning(UserWarning):
    """The same trial was computed twice with different results."""


class DamagedFileWarning(UserWarning):
    """A file of the lab was truncated or altered; it was set aside and its trials run again."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence part that suggests the nearest known name and lists what is known.

    >>> did_you_mean("mnsit", ["mnist", "digits"])
    "did you mean 'mnist'? Known: digits, mnist"
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listing = "Known: " + ", ".join(sorted(known))
    return f"did you mean '{near[0]}'? {listing}" if near else listing

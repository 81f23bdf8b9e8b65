"""What every crew of workers has in common: cohorts go in, answers come out."""

from dataclasses import dataclass
from typing import Protocol

from refute.core import Cohort, Provenance, Result


@dataclass(frozen=True)
class Done:
    """A cohort was measured.

    `seconds`: what its worker took; `bytes`: the most memory that it took; `room`: what it might have taken.
    """

    results: list[Result]
    seconds: float
    bytes: int
    room: int
    provenance: Provenance


@dataclass(frozen=True)
class Raised:
    """The trial function raised. `fatal`: no other trial can do better, for example because a data set is not there."""

    error: str
    out_of_memory: bool = False
    fatal: Exception | None = None


@dataclass(frozen=True)
class Died:
    """The worker is gone. `how` says what is known of it."""

    how: str
    out_of_memory: bool = False


Answer = Done | Raised | Died


class Crew(Protocol):
    """Workers somewhere. Whoever uses one closes it, also after an error."""

    def free(self) -> int:
        """How many more cohorts it takes now."""

    def give(self, cohort: Cohort) -> None:
        """Hand it a cohort; only while it is free."""

    def wait(self) -> list[tuple[Cohort, Answer]]:
        """Wait for at least one answer; only while it has a cohort."""

    def close(self) -> None:
        """End the workers now, whatever they are doing."""

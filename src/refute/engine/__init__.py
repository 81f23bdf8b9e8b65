"""The engine: phenomenon -> trials -> cohorts -> results."""

from refute.engine.cohorts import cohorts
from refute.engine.executor import Finished, check_executor, default_workers, execute
from refute.engine.measure import measure
from refute.engine.plan import plan

__all__ = ["Finished", "check_executor", "cohorts", "default_workers", "execute", "measure", "plan"]

"""What a document is made of: plain values, no layout. Every renderer prints from these and from nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from refute.core import Bound, VerdictWord


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a claim: numbers as they are drawn (clipped to the effect's range) and as they are printed."""

    label: str
    levels: Mapping[str, str]
    verdict: VerdictWord
    effect: float
    low: float
    high: float
    estimate: str
    interval: str
    confidence: str
    planned: int
    valid: int
    excluded: int
    diverged: int
    seeds: str
    hedges_g: str
    superiority: str
    beyond: str
    """Share of valid seeds whose own effect lies in the claim's region."""
    seeds_needed: str
    reason: str
    notes: tuple[str, ...]
    looks: str = ""
    """Where in its looks the cell stands; empty when the number of seeds was fixed."""


@dataclass(frozen=True, kw_only=True)
class MapCell:
    """One place of a limits map."""

    verdict: VerdictWord
    effect: str


@dataclass(frozen=True, kw_only=True)
class LimitsMap:
    """Cells as a grid: `rows` are (label, one place per column), None where no cell was planned."""

    rows_name: str
    columns_name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MapCell | None, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The mean over cells, and what to expect in a new cell."""

    mean: float
    low: float
    high: float
    estimate: str
    interval: str
    prediction: tuple[float, float] | None
    prediction_interval: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class ClaimSection:
    """One claim with its verdict and its cells."""

    id: str
    statement: str
    in_words: str
    verdict: VerdictWord
    sentence: str
    bound: Bound
    region: str
    paper: str
    headline: bool
    control: bool
    effect_label: str
    """What the numbers are, with their unit: the label of the axis."""
    summary: str
    """The claim's effect in one short text: pooled, or the only cell, or the span of the cells."""
    counts: str
    """Cells by verdict in words."""
    confidence: str
    """Of the cells' intervals; empty when they differ from cell to cell."""
    cells: tuple[Cell, ...]
    pooled: Pooled | None
    limits: LimitsMap | None = None
    standing: str = ""
    """Whether it was registered before the first trial; empty when that is not known."""
    settled: str = ""
    """Whether its cells go on to a next look, in a word or two."""


# --- figures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a panel; `names` when its positions 0, 1, 2 ... are words, `limits` when panels share them."""

    label: str
    log: bool = False
    names: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line with its band. `low` and `high` are empty when there is no band."""

    label: str
    colour: str
    style: str
    marker: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LinePanel:
    """Lines over one x axis."""

    title: str
    alt: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    reference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marks of one colour; `hollow` says which are drawn open."""

    label: str
    colour: str
    marker: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    hollow: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class ScatterPanel:
    """Marks in a plane."""

    title: str
    alt: str
    x: Axis
    y: Axis
    marks: tuple[Marks, ...]


@dataclass(frozen=True, kw_only=True)
class MapPanel:
    """A matrix of means, `values[row][column]`; the colour scale is the figure's."""

    title: str
    alt: str
    x: Axis
    y: Axis
    values: tuple[tuple[float, ...], ...]
    low: float
    high: float


Panel = LinePanel | ScatterPanel | MapPanel


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend: a sign, its colour ("" = the text's colour) and what it means."""

    sign: str
    colour: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Legend:
    """Keys, or a scale of colours from `low` to `high`."""

    title: str
    keys: tuple[Key, ...] = ()
    colours: tuple[str, ...] = ()
    low: str = ""
    high: str = ""


@dataclass(frozen=True, kw_only=True)
class FigureBlock:
    """A figure: panels side by side, legends, and a caption that says what mean and band are."""

    title: str
    caption: str
    legends: tuple[Legend, ...]
    panels: tuple[Panel, ...]


# --- the rest -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Link:
    """A reference outside the document."""

    text: str
    address: str


@dataclass(frozen=True, kw_only=True)
class SourceBlock:
    """Where the phenomenon was stated."""

    authors: str
    title: str
    year: int
    venue: str
    links: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Column names and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class TrialCounts:
    """What was planned and what came of it."""

    planned: int
    stored: int
    run: int
    cached: int
    diverged: int
    seconds: str
    core_seconds: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything a report says, in reading order."""

    title: str
    name: str
    version: int
    scale: str
    statement: str
    source: SourceBlock
    summary: str
    """Verdicts counted, in one sentence."""
    course: str
    """How the numbers of seeds came about: looks and what they saved, or a fixed number."""
    claims: tuple[ClaimSection, ...]
    figures: tuple[FigureBlock, ...]
    findings: tuple[str, ...]
    grids: Table
    settings: Table
    looks: str
    protocol_note: str
    factors: Table
    quantities: Table
    deviations: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]
    """Trials that could not be run, those of the same error in one sentence."""
    trials: TrialCounts
    provenance: tuple[Table, ...]
    keys: tuple[str, ...]
    """Record keys: one for all planned trials, then those of single trials for a spot check."""
    reproduce: str
    legend: Table = field(default_factory=lambda: Table(columns=(), rows=()))

    @property
    def empty(self) -> bool:
        """Whether nothing was run yet."""
        return self.trials.stored == 0

    @property
    def headline(self) -> ClaimSection | None:
        """The claim named before the run as the one the phenomenon stands for."""
        return next((claim for claim in self.claims if claim.headline), next(iter(self.claims), None))

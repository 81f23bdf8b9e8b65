"""How a verdict is reached: numbers per block in, frozen verdicts out (the law: docs/statistics.md).

Vocabulary
    block       the independent unit of replication (one seed); gives ONE effect per claim and cell   section 1
    effect      the number a claim reduces a block to, in the claim's unit; NaN = the block failed    section 1
    quantum     smallest possible step of an effect (1/797 of an accuracy over 797 examples)          section 1
    region      where the claim says the true mean effect lies: at least, at most, within a bound     section 1
    bound       the smallest effect that matters, delta                                               section 1
    cell        one combination of levels a claim is judged within                                    section 2
    hull        the cell's interval: t and Hall's skewness-corrected t, whichever is wider, per side  section 2
    floor       half a quantum: a standard deviation below it says nothing                            section 2
    look        a number of planned blocks, fixed beforehand, at which a cell may be judged           section 3
    level       one-sided; look k spends a_k = 0.05 (n_k - n_{k-1}) / n_L                             section 3
    sequential p  smallest p_k / w_k over the looks taken: valid at every level                       section 3
    share       how often an event happens over blocks: Clopper-Pearson, never pooled                 section 4
    equivalence a claim "within": both one-sided tests must pass                                      section 4
    failed      a block that diverged or did not pass the claim's filter; counted, never dropped      section 5
    blocked     a look with more than 10 % failed blocks: decides nothing                             section 5
    untested    a cell blocked at its last look, or not yet at its first                              section 5
    pooled      random-effects mean over cells: REML, Hartung-Knapp-Sidik-Jonkman with the max        section 6
    Holm        adjustment over the cells of a claim; BH is for the map of many cells                 section 7
    contested   some cell supported and some refuted: the others are trained on                       section 7
    limited     supported in some cells and refuted in others, both beyond chance                     section 7
    Hedges' g   standardized mean with noncentral limits; printed, never compared with the bound      section 8

>>> from refute import statistics
>>> region = statistics.Region("at_least", 0.02)
>>> cell = statistics.judge_cell([0.065, 0.09, 0.078, 0.043, 0.103], region=region, looks=(5, 10, 20))
>>> cell.verdict, cell.decided_at
('supported', 5)
"""

from refute.statistics.cells import judge_cell
from refute.statistics.effects import (
    average_ranks,
    difference,
    kendall,
    kendall_quantum,
    log_ratio,
    rise_and_fall,
    slope,
    spearman,
    spearman_quantum,
)
from refute.statistics.failures import mcnemar
from refute.statistics.intervals import CellInterval, hull_interval
from refute.statistics.looks import ALPHA, LOOKS, look_levels, look_weights
from refute.statistics.multiplicity import benjamini_hochberg, holm
from refute.statistics.overall import OverallVerdict, judge_cells, train_on
from refute.statistics.pooling import Pooled, block_means, pool, two_stage_pool
from refute.statistics.regions import Region
from refute.statistics.rows import kendall_rows, slope_rows, spearman_rows
from refute.statistics.shares import share_blocks_needed, share_interval
from refute.statistics.sizes import Estimate, beyond, hedges_g, seeds_needed, superiority
from refute.statistics.verdicts import CellVerdict, Look

__all__ = [
    "ALPHA",
    "LOOKS",
    "CellInterval",
    "CellVerdict",
    "Estimate",
    "Look",
    "OverallVerdict",
    "Pooled",
    "Region",
    "average_ranks",
    "benjamini_hochberg",
    "beyond",
    "block_means",
    "difference",
    "hedges_g",
    "holm",
    "hull_interval",
    "judge_cell",
    "judge_cells",
    "kendall",
    "kendall_quantum",
    "kendall_rows",
    "log_ratio",
    "look_levels",
    "look_weights",
    "mcnemar",
    "pool",
    "rise_and_fall",
    "seeds_needed",
    "share_blocks_needed",
    "share_interval",
    "slope",
    "slope_rows",
    "spearman",
    "spearman_quantum",
    "spearman_rows",
    "superiority",
    "train_on",
    "two_stage_pool",
]

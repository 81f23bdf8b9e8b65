"""Your own results: a table of trials that were run elsewhere -> verdicts, by the statistics of the catalogue.

Reading order: `reading` (file or data frame -> columns), `naming` (renames; exports of MLflow and Weights & Biases),
`claims` (a claim in a few words), `frame` (columns as levels or numbers), `blocks` (rows -> one number per block, and
what is refused), `judging` (numbers -> verdicts, by `refute.statistics`).

>>> from refute.tables import judge_table, make_claim
>>> accuracy = {"sgd": [0.90, 0.91, 0.89, 0.92, 0.90], "adam": [0.93, 0.95, 0.93, 0.94, 0.93]}
>>> table = {
...     "seed": [*range(5), *range(5)],
...     "optimizer": ["sgd"] * 5 + ["adam"] * 5,
...     "accuracy": accuracy["sgd"] + accuracy["adam"],
... }
>>> claim = make_claim(of="accuracy", across="optimizer=sgd,adam", at_least=0.01, reason="a point is worth the memory")
>>> judge_table(table, claim, block="seed").verdicts[0].verdict
'supported'
"""

from refute.tables.claims import EFFECTS, make_claim, parse_condition, parse_only
from refute.tables.judging import JudgedTable, judge_table
from refute.tables.naming import rename_columns
from refute.tables.reading import FORMATS, as_table, read_table

__all__ = [
    "EFFECTS",
    "FORMATS",
    "JudgedTable",
    "as_table",
    "judge_table",
    "make_claim",
    "parse_condition",
    "parse_only",
    "read_table",
    "rename_columns",
]

"""Data sets: fetched through channels, verified, cached, and loaded as the tensors of a cohort.

`load` and, for text, `load_documents` are what a phenomenon calls, `from_arrays` is for data of one's own; `fetch`,
`status` and `use_local` are what a person needs; `raw` gives the decoded arrays; `pack` and `receive` bring them to
other machines. A data set is one file of this package that holds `DATASET = DataSet(...)`.
"""

from refute.datasets.arrays import from_arrays
from refute.datasets.dataset import DataSet
from refute.datasets.documents import load_documents
from refute.datasets.fetching import DataSource, DataStatus, RawData, fetch, raw, status, use_local
from refute.datasets.find import get, names
from refute.datasets.loading import Batch, Data, load
from refute.datasets.sending import Parcel, pack, receive

__all__ = [
    "Batch",
    "Data",
    "DataSet",
    "DataSource",
    "DataStatus",
    "Parcel",
    "RawData",
    "fetch",
    "from_arrays",
    "get",
    "load",
    "load_documents",
    "names",
    "pack",
    "raw",
    "receive",
    "status",
    "use_local",
]

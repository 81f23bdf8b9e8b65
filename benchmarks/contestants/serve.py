"""One contestant in a process of its own: it gets ready, then does what it is told, a line of JSON for a line.

    python -m contestants.serve NAME NET BATCH REPLICAS

{"prepare": steps} is answered by the seconds that took, {"run": steps} by those of the whole run and its outcome.
"""

import importlib
import json
import sys
import time
from typing import Any

from contestants.task import Contestant, LeftOutError, Task


def main() -> None:
    name, net, batch, replicas = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print must not be taken for an answer

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        contestant = importlib.import_module(f"contestants.{name}").build(Task(net, int(batch), int(replicas)))
    except LeftOutError as reason:
        answer(left_out=str(reason))
        return
    answer()
    for line in sys.stdin:
        answer(**_done(contestant, json.loads(line)))


def _done(contestant: Contestant, order: dict[str, int]) -> dict[str, Any]:
    started = time.perf_counter()
    if "prepare" in order:
        contestant.prepare(order["prepare"])
        return {"seconds": time.perf_counter() - started}
    found = contestant.run(order["run"])
    return {"seconds": time.perf_counter() - started, "remark": contestant.remark(), **vars(found)}


if __name__ == "__main__":
    main()

"""The contestants of the race (see engine.py): one file each, in the order of the table.

A file has a function `build(task)`, which gives a `task.Contestant` or raises `task.LeftOutError` with the reason; it
is imported in that contestant's own process alone.
"""

CONTESTANTS = {
    "plain": "plain loop",
    "pool": "process pool",
    "torch_func": "torch.func",
    "jax_scan": "JAX",
    "ours": "refute",
}
"""Name, which is also that of its file -> how the table calls it."""

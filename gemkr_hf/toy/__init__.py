"""The toy world: the symbols benchmark, its stand-in checkpoints, and the quickstart.

Importing this package registers the benchmark format ``symbols``, the checkpoint source
``small-world``, and the settings of the paper's tables for this benchmark. The core finds them
through its registries and never imports this package.
"""

from gemkr_hf.utils.registry import register

register(
    "benchmark format",
    "symbols",
    "gemkr_hf.toy.symbols.symbols_benchmark:load_symbols_benchmark",
)
register(
    "checkpoint source",
    "small-world",
    "gemkr_hf.toy.stand_ins.checkpoint_source:SmallWorldCheckpoint",
)
register("evaluation plug-in", "symbols", "gemkr_hf.toy.paper_plugin:evaluation_plugin")

"""The toy world: the symbols benchmark, its stand-in checkpoints, and the quickstart.

Importing this package registers the benchmark format ``symbols``, the checkpoint source
``small-world``, and the settings of the paper's tables for this benchmark. The core finds them
through its registries and never imports this package.
"""

from gemkr_hf.utils.registry import register

for kind, name, provider in (
    ("benchmark format", "symbols", "symbols.symbols_benchmark:load_symbols_benchmark"),
    ("checkpoint source", "small-world", "stand_ins.checkpoint_source:SmallWorldCheckpoint"),
    ("evaluation plug-in", "symbols", "paper_plugin:evaluation_plugin"),
):
    register(kind, name, f"gemkr_hf.toy.{provider}")

"""From a configuration file to a tuned model: what ``gemkr train`` does."""

from gemkr_hf.recipes.run import run_training

__all__ = ["run_training"]

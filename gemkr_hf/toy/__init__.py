"""The toy world: symbols, stand-in checkpoints, quickstart."""

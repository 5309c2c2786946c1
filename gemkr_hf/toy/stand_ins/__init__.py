"""Stand-ins for published checkpoints: a small detector, CLIP and language model."""

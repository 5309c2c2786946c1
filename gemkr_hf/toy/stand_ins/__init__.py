"""Stand-ins for the published checkpoints: a detector, a CLIP and a language model, made here."""

"""Pretraining, fine-tuning, evaluation and export; needs the `[train]` extra."""

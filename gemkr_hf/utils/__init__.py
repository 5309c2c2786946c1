"""Helpers that every layer may use; they import nothing of the package."""

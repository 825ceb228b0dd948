"""Consolidation: in the background, turns become facts and summaries through one call of a model."""

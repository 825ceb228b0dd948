"""Recall: from text to index terms, from a query to ranked observations, and what a session starts with."""

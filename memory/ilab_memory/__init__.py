"""Embedded per-user memory: observations, sessions, redaction, ranked recall."""

"""Telemetry: the record of each call, and the log."""

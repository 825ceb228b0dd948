"""The Memory port: ilab-memory off the event loop, and how turns are encoded in it."""

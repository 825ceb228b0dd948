"""Logic that both stores share, as functions without I/O."""

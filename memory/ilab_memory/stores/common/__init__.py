"""What both stores do alike, as functions without I/O."""

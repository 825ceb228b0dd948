"""Authentication: static tokens, JWTs, SPIFFE IDs, and TLS certificates."""

"""Who calls: tokens, JWTs, SPIFFE ids, and the certificates of TLS."""

"""The ports of `ports.py`, each over one technology."""

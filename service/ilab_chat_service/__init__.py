"""The ilab-chat service."""

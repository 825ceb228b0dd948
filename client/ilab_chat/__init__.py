"""The ilab-chat client."""

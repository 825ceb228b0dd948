"""Leak redaction: find the private text of a message in the model's reply, so that it is not stored.

Start with `leak_redaction.py`. Everything here is pure, and linear in the length of both texts.
"""

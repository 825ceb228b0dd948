"""Leak redaction: find the private text of a message in the model's reply, so that it is not stored.

Start with `leak_redaction.py`. Everything here is pure, and linear in the length of both texts.
"""

from __future__ import annotations

from ilab_chat_service.privacy.leak_redaction import redact_leaks
from ilab_chat_service.privacy.model_names import quotes_of

__all__ = ["quotes_of", "redact_leaks"]

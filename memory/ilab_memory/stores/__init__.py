"""Implementations of `ilab_memory.core.store.Store`, one package per technology."""

"""Interceptors: what happens around every call. One concern per module."""

"""The Model port: any OpenAI-compatible API."""

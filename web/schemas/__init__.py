"""Requests and answers as Pydantic models, one definition each; imports nothing else of `web`."""

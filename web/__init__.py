"""The web tier: pages, the native API and OpenAI's API; imports neither `worker` nor torch."""

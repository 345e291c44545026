"""The web tier: pages, the native API and OpenAI's API over HTTP. Imports `common`; never `worker`,
and never torch."""

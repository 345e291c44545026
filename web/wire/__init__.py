"""HTTP as all dialects use it: bodies, errors, downloads, connections, the OpenAPI document."""

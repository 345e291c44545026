"""HTTP for all dialects: bodies, errors, downloads, connections, OpenAPI; imports no dialect."""

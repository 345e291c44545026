"""A random model that reads and writes bytes, one a token."""

from __future__ import annotations

CONTEXT = 2560  # tokens: more than two steps of the engine on a CPU
END = "<|end|>"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"

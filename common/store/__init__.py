"""The store: every Redis key, every Lua script, and the only code that reads and writes them."""

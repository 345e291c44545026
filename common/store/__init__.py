"""The store: every Redis key and Lua script; no other code may read or write the keys."""

"""The `promptmill` command; may import every room, and no room imports it."""

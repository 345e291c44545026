"""The `promptmill` command. Imports every room; no room imports it."""

"""The operations that are worth fast code, all of them; imports nothing else of the engine."""

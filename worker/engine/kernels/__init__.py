"""The operations worth fast code; everything in the engine that is goes through here."""

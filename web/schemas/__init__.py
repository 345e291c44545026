"""What requests may say and what is answered, as Pydantic models: one definition each."""

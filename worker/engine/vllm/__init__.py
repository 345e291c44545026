"""vLLM behind the engine protocol; the library is imported only when such an engine is made."""

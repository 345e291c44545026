"""From logits to tokens, each row by its own parameters; pure functions without transformers."""

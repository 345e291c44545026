"""The model: its weights, its forward pass, and the check that the engine computes what the model
means."""

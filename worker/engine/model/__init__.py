"""The model: weights, forward passes, self-checks; does not import the batching loop."""

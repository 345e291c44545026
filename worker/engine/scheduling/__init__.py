"""What is computed next, and for whom. No tensors."""

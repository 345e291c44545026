"""Decides what each step computes, and for which rows; imports no torch."""

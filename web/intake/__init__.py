"""Turns requests and files into checked items in the queue; knows neither HTTP nor dialects."""

"""Judges what was generated: metrics of texts, and statistics that say how sure they are.

Pure: numbers in, numbers out. Knows no store, no worker, no HTTP.
"""

"""Parts that several benchmarks share: processes, load, faults, measuring; no room imports them."""

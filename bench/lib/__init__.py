"""Parts that several benchmarks share: processes, load, faults, measuring."""

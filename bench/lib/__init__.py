"""The parts of the benchmarks: users, faults, peers, measuring."""

"""Parts of the benchmarks: load, faults, peers, measurements; no room imports them."""

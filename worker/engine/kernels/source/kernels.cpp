// The one translation unit of the compiled kernels: includes every header, and exports C functions
// for ctypes. Each exported function counts itself with `count_call()`; `pm_calls` tells the sum.

#include <atomic>
#include <cstdint>

namespace kernels {

std::atomic<int64_t> calls{0};

inline void count_call() { calls.fetch_add(1, std::memory_order_relaxed); }

}  // namespace kernels

extern "C" {

// How many exported functions that compute have been called in this process.
int64_t pm_calls() { return kernels::calls.load(std::memory_order_relaxed); }

// ---- products

// ---- attention

// ---- layers and whole passes

}  // extern "C"

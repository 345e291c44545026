// The one translation unit of the compiled kernels: includes every header, and exports C functions
// for ctypes. Each exported function counts itself with `count_call()`; `pm_calls` tells the sum.

#include <atomic>
#include <cstdint>

#include "attention.h"

namespace kernels {

std::atomic<int64_t> calls{0};

inline void count_call() { calls.fetch_add(1, std::memory_order_relaxed); }

}  // namespace kernels

extern "C" {

// How many exported functions that compute have been called in this process.
int64_t pm_calls() { return kernels::calls.load(std::memory_order_relaxed); }

// ---- products

// ---- attention

// The plan of a step, for `pm_attend` in each of its layers; the caller frees it. `rows` need not
// outlive this call.
kernels::Plan* pm_plan_new(const kernels::Rows* rows) {
    return new kernels::Plan(kernels::make_plan(*rows));
}

void pm_plan_free(kernels::Plan* plan) { delete plan; }

// One layer of a step: stores the tokens' keys and values, then lets each attend.
void pm_attend(const kernels::Cache* cache, const kernels::Rows* rows, const kernels::Plan* plan,
               const kernels::Reading* reading, const kernels::bf16* queries, int64_t query_stride,
               const kernels::bf16* keys, int64_t key_stride, const kernels::bf16* values,
               int64_t value_stride, kernels::bf16* out, int64_t out_stride) {
    kernels::count_call();
#pragma omp parallel
    {
        kernels::store(*cache, *rows, keys, key_stride, values, value_stride);
#pragma omp barrier
        kernels::attend(*cache, *rows, *plan, *reading, queries, query_stride, out, out_stride);
    }
}

// ---- layers and whole passes

}  // extern "C"

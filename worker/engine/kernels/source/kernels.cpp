// The one translation unit of the compiled kernels: includes every header, and exports C functions
// for ctypes. Each exported function counts itself with `count_call()`; `pm_calls` tells the sum.

#include <atomic>
#include <cstdint>

#include "attention.h"
#include "draw.h"
#include "linear.h"
#include "pass.h"

namespace kernels {

std::atomic<int64_t> calls{0};

inline void count_call() { calls.fetch_add(1, std::memory_order_relaxed); }

}  // namespace kernels

extern "C" {

// How many exported functions that compute have been called in this process.
int64_t pm_calls() { return kernels::calls.load(std::memory_order_relaxed); }

// ---- products

// Bytes of (outs, ins) weights when laid out for products of this kind.
int64_t pm_packed_bytes(int32_t kind, int64_t outs, int64_t ins) {
    return kernels::packed_bytes(kind, outs, ins);
}

// Lays out (outs, ins) weights; `to` begins at a multiple of 64 bytes.
void pm_pack_bf16(const kernels::bf16* weights, void* to, int64_t outs, int64_t ins) {
    kernels::count_call();
#pragma omp parallel
    kernels::pack_bf16(weights, to, outs, ins);
}

// Quantises and lays out (outs, ins) weights; writes the (outs,) scales.
void pm_pack_int8(const kernels::bf16* weights, void* to, float* scales, int64_t outs,
                  int64_t ins) {
    kernels::count_call();
#pragma omp parallel
    kernels::pack_int8(weights, to, scales, outs, ins);
}

// Computes a layer of `count` rows; `written` is a `Written`. Returns 0, or 1 for want of memory.
int32_t pm_linear(const kernels::Linear* layer, const kernels::bf16* rows, int64_t stride,
                  int64_t count, void* to, int64_t to_stride, int32_t written) {
    kernels::count_call();
    try {
        kernels::run_linear(*layer, rows, stride, count, kernels::Output{to, to_stride, written});
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

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

// The RMS norm of `rows` rows, side by side, by the same code as in a pass.
void pm_norm(const kernels::bf16* from, int64_t rows, const kernels::bf16* weight, float epsilon,
             int64_t width, kernels::bf16* to) {
    kernels::count_call();
    for (int64_t row = 0; row < rows; ++row)
        kernels::norm_row(from + row * width, {weight, epsilon}, width, to + row * width);
}

// What a model's passes compute in; the caller frees it.
kernels::Scratch* pm_scratch_new() { return new kernels::Scratch(); }

void pm_scratch_free(kernels::Scratch* scratch) { delete scratch; }

// Computes the logits (wanted, vocabulary) of a step. Returns a `Fault`: 0 if there is none.
int32_t pm_pass(const kernels::Model* model, const kernels::Step* step, float* logits) {
    kernels::count_call();
    return static_cast<int32_t>(kernels::compute(*model, *step, logits));
}

// ---- drawing

// Draws the next tokens of `count` rows. Returns 0, or 1 for want of memory, or 2 if an edit's token
// does not exist.
int32_t pm_draw(kernels::Draw* rows, int64_t count, int64_t vocabulary) {
    kernels::count_call();
    try {
        return kernels::draw_all(rows, count, vocabulary) ? 0 : 2;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // extern "C"

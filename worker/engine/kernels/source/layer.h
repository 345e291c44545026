// What a decoder layer computes of one token besides its products and its attention: the norm, the
// rotation and the gate. Each takes one row, so that a row's bits cannot depend on other rows.
//
// A row has any width: what is left behind the last whole vector is read and written through a
// mask, by the same instructions.

#pragma once

#include <cmath>

#include "simd.h"

namespace kernels {

struct Norm {
    const bf16* weight;  // (width,), or null: no norm
    float epsilon;
};

// x / sqrt(mean(x²) + epsilon) * weight, of one row; `to` may be `x`.
//
// The squares are summed in 16 chains, each along the width, then the chains: the order follows
// from the width alone. The normalised row is rounded before it is multiplied, as the modules of
// transformers do.
static inline void norm_row(const bf16* x, const Norm& norm, int64_t width, bf16* to) {
    __m512 squares = _mm512_setzero_ps();
    for_vectors(width, [&](int64_t at, auto lanes) {
        const __m512 part = load(x + at, lanes);
        squares = _mm512_fmadd_ps(part, part, squares);
    });
    const float mean = sum(squares) / static_cast<float>(width);
    const __m512 factor = _mm512_set1_ps(1.f / std::sqrt(mean + norm.epsilon));
    for_vectors(width, [&](int64_t at, auto lanes) {
        const __m512 scaled = widened(rounded(_mm512_mul_ps(load(x + at, lanes), factor)));
        store(to + at, _mm512_mul_ps(scaled, load(norm.weight + at, lanes)), lanes);
    });
}

// Rotary embedding of one head, in place: its first half x and its second half y become
// x cos - y sin and y cos + x sin. `cosines` and `sines` are (width / 2,), of the token's position.
static inline void rotate_head(bf16* head, int64_t width, const float* cosines,
                               const float* sines) {
    const int64_t half = width / 2;
    for_vectors(half, [&](int64_t at, auto lanes) {
        const __m512 x = load(head + at, lanes), y = load(head + half + at, lanes);
        const __m512 cosine = load(cosines + at, lanes), sine = load(sines + at, lanes);
        store(head + at, _mm512_fmsub_ps(x, cosine, _mm512_mul_ps(y, sine)), lanes);
        store(head + half + at, _mm512_fmadd_ps(y, cosine, _mm512_mul_ps(x, sine)), lanes);
    });
}

// silu(gate) * up of one row, rounded once; `gate_up` has the gate's `width` numbers, then up's.
static inline void gate_row(const bf16* gate_up, int64_t width, bf16* to) {
    const __m512 one = _mm512_set1_ps(1.f), minus_log2_e = _mm512_set1_ps(-1.44269504f);
    for_vectors(width, [&](int64_t at, auto lanes) {
        const __m512 gate = load(gate_up + at, lanes), up = load(gate_up + width + at, lanes);
        const __m512 below = _mm512_add_ps(one, exp2(_mm512_mul_ps(gate, minus_log2_e)));
        store(to + at, _mm512_mul_ps(_mm512_div_ps(gate, below), up), lanes);
    });
}

}  // namespace kernels

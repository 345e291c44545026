// A few queries over one span of keys and values: the arithmetic of attention.
//
// Up to TILE queries share each read of the cache. Which these are changes no bit of any of them:
// a query's products with a key are summed along the width, its weighted values along the
// positions, each in one chain.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "paging.h"

namespace kernels {

namespace attention {  // what `attend` is made of

constexpr int TILE = 6;   // queries that share each read: with them 24 of 32 registers are sums
constexpr int SLICE = 4;  // vectors of a value that are summed in one go

// What one query head of one token asks, and which positions it sees: [begin, end).
struct Query {
    const bf16* values;  // (width,)
    bf16* out;           // (width,)
    int32_t begin, end;
};

// A query's state is `width` weighted sums of values, then LANES sums of weights (one for each
// lane of the positions), then the largest product.
KERNELS_INLINE int64_t state_size(int32_t width) { return width + 2 * LANES; }

// Where a span's keys and values are, and the next span's, which are fetched meanwhile.
struct Span {
    const bf16* units[SPAN_BLOCKS];
    const bf16* ahead[SPAN_BLOCKS];  // null: nothing is to be fetched
    int32_t at;                      // its first position
    int32_t width;                   // of keys and values
    float factor;                    // positive; makes powers of two of products
};

// The weights that the queries of a tile give to the positions of a span.
struct Weights {
    alignas(64) bf16 of[TILE][SPAN];
    alignas(64) float fade[LANES] = {};  // what sums so far are multiplied by: the largest grew
    uint64_t seen[TILE];  // positions, a bit each
    uint64_t by_all, by_any;
};

KERNELS_INLINE uint64_t bits_below(int32_t count) {
    return count <= 0 ? 0 : count >= SPAN ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Which positions of the span at `at` the queries see.
KERNELS_INLINE void look(const Query* queries, int count, int32_t at, Weights& weights) {
    weights.by_all = ~uint64_t{0};
    weights.by_any = 0;
    for (int r = 0; r < count; ++r) {
        const uint64_t seen = bits_below(queries[r].end - at) & ~bits_below(queries[r].begin - at);
        weights.seen[r] = seen;
        weights.by_all &= seen;
        weights.by_any |= seen;
    }
}

// Products of R queries with the keys of the first N blocks of a span; FETCH also asks for the
// next span's keys and values.
template <int R, int N, bool FETCH>
KERNELS_INLINE void multiply(const Query* queries, const Span& span, __m512 (&scores)[R][N]) {
    const int64_t values = int64_t{BLOCK} * span.width;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) scores[r][j] = _mm512_setzero_ps();
    for (int64_t d = 0; d < span.width; d += 2) {
        __m512i keys[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) keys[j] = _mm512_loadu_si512(span.units[j] + d * BLOCK);
#pragma GCC unroll 4
        for (int j = 0; FETCH && j < SPAN_BLOCKS; ++j) {
            const bf16* line = span.ahead[j] + d * BLOCK;
            _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
            _mm_prefetch(reinterpret_cast<const char*>(line + values), _MM_HINT_T1);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const __m512i query = broadcast(queries[r].values + d);
#pragma GCC unroll 4
            for (int j = 0; j < N; ++j) scores[r][j] = dot2(scores[r][j], query, keys[j]);
        }
    }
}

// The weights of R queries over the first N blocks of a span.
template <int R, int N>
[[gnu::noinline]] void weigh(const Query* queries, const Span& span, float* states,
                             Weights& weights) {
    __m512 scores[R][N];
    if (span.ahead[0])
        multiply<R, N, true>(queries, span, scores);
    else
        multiply<R, N, false>(queries, span, scores);

    const __m512 hidden = _mm512_set1_ps(-INFINITY);
    const int64_t size = state_size(span.width);
    float bases[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        float& largest = states[r * size + span.width + LANES];
        __m512 highest = hidden;
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
            const __mmask16 seen = static_cast<__mmask16>(weights.seen[r] >> (BLOCK * j));
            scores[r][j] = _mm512_mask_mov_ps(hidden, seen, scores[r][j]);
            highest = _mm512_max_ps(highest, scores[r][j]);
        }
        const float before = largest;
        largest = std::max(before, maximum(highest));
        // Before a token sees anything both are -inf, whose difference would be NaN.
        bases[r] = largest == -INFINITY ? 0.f : largest * span.factor;
        weights.fade[r] = before * span.factor - bases[r];
    }
    _mm512_store_ps(weights.fade, exp2(_mm512_load_ps(weights.fade)));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        float* sums = states + r * size + span.width;
        const __m512 base = _mm512_set1_ps(bases[r]), factor = _mm512_set1_ps(span.factor);
        __m512 total = _mm512_mul_ps(_mm512_load_ps(sums), _mm512_set1_ps(weights.fade[r]));
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
            const __m512 weight = exp2(_mm512_fmsub_ps(scores[r][j], factor, base));
            total = _mm512_add_ps(total, weight);
            store(weights.of[r] + BLOCK * j, weight);
        }
        _mm512_store_ps(sums, total);
    }
}

// Adds the weighted values of the pair of positions `pair` to V vectors of R queries' sums. Where
// PARTLY is set, not all of them see both positions.
template <int R, int V, bool PARTLY>
KERNELS_INLINE void add_pair(const bf16* values, const Weights& weights, int pair,
                             __m512 (&sums)[R][V]) {
    __m512i loaded[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) loaded[v] = _mm512_loadu_si512(values + 2 * LANES * v);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const __m512i weight = broadcast(weights.of[r] + 2 * pair);
        __m512i shown = _mm512_setzero_si512();
        if (PARTLY) {
            const uint64_t seen = weights.seen[r] >> (2 * pair);
            shown = _mm512_set1_epi32((seen & 1 ? 0xffff : 0) | (seen & 2 ? ~0xffff : 0));
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
            sums[r][v] = dot2(sums[r][v], weight,
                              PARTLY ? _mm512_and_si512(loaded[v], shown) : loaded[v]);
    }
}

// Adds the weighted values of a span to V vectors, from element `from` on, of R queries' sums.
template <int R, int V>
[[gnu::noinline]] void add_values(const Span& span, const Weights& weights, float* states,
                                  int32_t from) {
    const int64_t size = state_size(span.width);
    const int64_t first = int64_t{BLOCK} * span.width + 2 * from;  // in a unit
    __m512 sums[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
            sums[r][v] = _mm512_mul_ps(_mm512_load_ps(states + r * size + from + LANES * v),
                                       _mm512_set1_ps(weights.fade[r]));
    const int begin = __builtin_ctzll(weights.by_any) / 2;
    const int end = SPAN / 2 - __builtin_clzll(weights.by_any) / 2;
    for (int pair = begin; pair < end; ++pair) {
        const bf16* values = span.units[pair / (BLOCK / 2)] + first +
                             int64_t{2} * span.width * (pair % (BLOCK / 2));
        if ((weights.by_all >> (2 * pair) & 3) == 3)
            add_pair<R, V, false>(values, weights, pair, sums);
        else
            add_pair<R, V, true>(values, weights, pair, sums);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
            _mm512_store_ps(states + r * size + from + LANES * v, sums[r][v]);
}

// `weigh` for as many blocks as there are.
template <int R, int N = SPAN_BLOCKS>
KERNELS_INLINE void weigh_blocks(int blocks, const Query* queries, const Span& span, float* states,
                                 Weights& weights) {
    if (blocks == N)
        weigh<R, N>(queries, span, states, weights);
    else if constexpr (N > 1)
        weigh_blocks<R, N - 1>(blocks, queries, span, states, weights);
}

// `add_values` for as many vectors as there are.
template <int R, int V = SLICE>
KERNELS_INLINE void add_slice(int vectors, const Span& span, const Weights& weights, float* states,
                              int32_t from) {
    if (vectors == V)
        add_values<R, V>(span, weights, states, from);
    else if constexpr (V > 1)
        add_slice<R, V - 1>(vectors, span, weights, states, from);
}

// Takes the states of up to R queries over a span.
template <int R = TILE>
inline void pass_span(int count, const Query* queries, const Span& span, float* states) {
    if constexpr (R > 1)
        if (count < R) return pass_span<R - 1>(count, queries, span, states);
    Weights weights;
    look(queries, R, span.at, weights);
    if (weights.by_any == 0) return;
    const int blocks = (SPAN - __builtin_clzll(weights.by_any) + BLOCK - 1) / BLOCK;
    weigh_blocks<R>(blocks, queries, span, states, weights);
    for (int32_t from = 0; from < span.width; from += SLICE * LANES)
        add_slice<R>(std::min(SLICE, (span.width - from) / LANES), span, weights, states, from);
}

}  // namespace attention
}  // namespace kernels

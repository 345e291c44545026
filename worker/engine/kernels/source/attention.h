// Attention over the paged cache (paging.h), the same bits for a token in any company.
//
// A token attends to spans of SPAN positions at absolute places, from left to right. It carries a
// state from span to span: the largest score so far, the sum of the weights, and the weighted sum
// of the values. Each of these grows in one fixed order, so it is the same whether a token is
// computed alone, in a chunk, or beside rows that share its first blocks; those only decide in
// which order the pairs of (query, span) are visited. States are never merged.
//
// What a token may not see changes nothing of its state, whatever lies there, NaN too: scores are
// replaced by -inf, whose weight is exactly 0, and values by zeros.

#pragma once

#include <cmath>

#include "paging.h"

namespace kernels {

constexpr int TILE = 6;          // query rows that share each read: 24 of 32 registers are sums
constexpr int SLICE = 4;         // vectors of a value that are summed in one go
constexpr int ROWS_AT_ONCE = 96;  // query rows whose states fit the second-level cache

struct Reading {
    float scale;
    int32_t window;  // positions that a token sees, itself included; 0: all
    int32_t query_heads;
};

namespace attention {  // what `attend` is made of

// What one query head of one token asks, and which positions it sees: [begin, end).
struct Query {
    const bf16* values;  // (width,)
    bf16* out;           // (width,)
    int32_t begin, end;
};

// A query's state is `width` weighted sums of values, then LANES sums of weights (one for each
// lane of the positions), then the largest score, in powers of two.
KERNELS_INLINE int64_t state_size(int32_t width) { return width + 2 * LANES; }

// Where a span's keys and values are, and the next span's, which are fetched meanwhile.
struct Span {
    const bf16* units[SPAN_BLOCKS];
    const bf16* ahead[SPAN_BLOCKS];
    int32_t at;     // its first position
    int32_t width;  // of keys and values
    float factor;   // makes scores of products, as powers of two
};

// The weights that the queries of a tile give to the positions of a span.
struct Weights {
    alignas(64) bf16 of[TILE][SPAN];
    float fade[TILE];     // what all sums so far are multiplied by, because the largest score grew
    uint64_t seen[TILE];  // positions, a bit each
    uint64_t by_all, by_any;
};

KERNELS_INLINE uint64_t bits_below(int32_t count) {
    return count <= 0 ? 0 : count >= SPAN ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

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

// The weights of R queries over the first N blocks of a span.
template <int R, int N>
[[gnu::noinline]] void weigh(const Query* queries, const Span& span, float* states,
                             Weights& weights) {
    __m512 scores[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) scores[r][j] = _mm512_setzero_ps();
    const int64_t values = int64_t{BLOCK} * span.width;
    for (int64_t d = 0; d < span.width; d += 2) {
        __m512i keys[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) keys[j] = _mm512_loadu_si512(span.units[j] + d * BLOCK);
#pragma GCC unroll 4
        for (int j = 0; j < SPAN_BLOCKS; ++j) {
            _mm_prefetch(reinterpret_cast<const char*>(span.ahead[j] + d * BLOCK), _MM_HINT_T1);
            _mm_prefetch(reinterpret_cast<const char*>(span.ahead[j] + values + d * BLOCK),
                         _MM_HINT_T1);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const __m512i query = broadcast(queries[r].values + d);
#pragma GCC unroll 4
            for (int j = 0; j < N; ++j) scores[r][j] = dot2(scores[r][j], query, keys[j]);
        }
    }
    const __m512 hidden = _mm512_set1_ps(-INFINITY);
    const int64_t size = state_size(span.width);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        float* sums = states + r * size + span.width;
        float& largest = sums[LANES];
        __m512 highest = hidden;
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
            const __mmask16 seen = static_cast<__mmask16>(weights.seen[r] >> (BLOCK * j));
            scores[r][j] = _mm512_mask_mul_ps(hidden, seen, scores[r][j],
                                              _mm512_set1_ps(span.factor));
            highest = _mm512_max_ps(highest, scores[r][j]);
        }
        const float before = largest;
        largest = std::max(before, maximum(highest));
        // Before a token sees anything both are -inf, whose difference would be NaN.
        const float base = largest == -INFINITY ? 0.f : largest;
        const __m512 fade = exp2(_mm512_set1_ps(before - base));
        weights.fade[r] = _mm512_cvtss_f32(fade);
        __m512 total = _mm512_mul_ps(_mm512_load_ps(sums), fade);
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
            const __m512 weight = exp2(_mm512_sub_ps(scores[r][j], _mm512_set1_ps(base)));
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

template <int R, int N = SPAN_BLOCKS>
KERNELS_INLINE void weigh_blocks(int blocks, const Query* queries, const Span& span, float* states,
                                 Weights& weights) {
    if (blocks == N)
        weigh<R, N>(queries, span, states, weights);
    else if constexpr (N > 1)
        weigh_blocks<R, N - 1>(blocks, queries, span, states, weights);
}

template <int R, int V = SLICE>
KERNELS_INLINE void add_slice(int vectors, const Span& span, const Weights& weights, float* states,
                              int32_t from) {
    if (vectors == V)
        add_values<R, V>(span, weights, states, from);
    else if constexpr (V > 1)
        add_slice<R, V - 1>(vectors, span, weights, states, from);
}

// Takes the states of R queries over a span.
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

// A stretch of positions [begin, end) of one row's blocks, as one head reads them.
struct Stretch {
    const int32_t* blocks;
    int32_t head;
    int32_t begin, end;

    bool empty() const { return begin >= end; }
};

// Finds the units of the span at `at`; beyond the end, those of the last block.
inline void locate(const Cache& cache, const Stretch& stretch, int32_t at,
                   const bf16* (&units)[SPAN_BLOCKS]) {
    const int32_t last = (stretch.end - 1) / BLOCK;
    for (int j = 0; j < SPAN_BLOCKS; ++j)
        units[j] = cache.unit(stretch.blocks[std::min(at / BLOCK + j, last)], stretch.head);
}

// Takes the states of queries over a stretch, span by span, in tiles of nearly equal size. `next`
// is what will be read afterwards.
inline void walk(const Cache& cache, float factor, const Stretch& stretch, const Stretch& next,
                 const Query* queries, int count, float* states) {
    Span span;
    span.width = cache.width;
    span.factor = factor;
    const int tiles = (count + TILE - 1) / TILE;
    for (int32_t at = stretch.begin / SPAN * SPAN; at < stretch.end; at += SPAN) {
        span.at = at;
        locate(cache, stretch, at, span.units);
        if (at + SPAN < stretch.end)
            locate(cache, stretch, at + SPAN, span.ahead);
        else if (!next.empty())
            locate(cache, next, next.begin / SPAN * SPAN, span.ahead);
        else
            std::copy_n(span.units, SPAN_BLOCKS, span.ahead);
        for (int tile = 0; tile < tiles; ++tile) {
            const int from = count * tile / tiles, to = count * (tile + 1) / tiles;
            pass_span(to - from, queries + from, span, states + from * state_size(cache.width));
            std::copy_n(span.units, SPAN_BLOCKS, span.ahead);  // fetched once
        }
    }
}

// Divides the sums of values by the sum of weights.
inline void finish(const Query& query, const float* state, int32_t width) {
    const __m512 share = _mm512_set1_ps(1.f / sum(_mm512_load_ps(state + width)));
    for (int32_t i = 0; i < width; i += LANES) {
        // Sums that are zero may differ in sign where one adds zeros and another skips them.
        const __m512 value = _mm512_mul_ps(_mm512_load_ps(state + i), share);
        store(query.out + i, _mm512_add_ps(value, _mm512_setzero_ps()));
    }
}

// All that stays the same while a step attends in one work.
struct Work {
    const Cache& cache;
    const Rows& rows;
    const Plan& plan;
    const Reading& reading;
    const bf16* q;
    int64_t q_stride;
    bf16* out;
    int64_t out_stride;

    int32_t group() const { return reading.query_heads / cache.heads; }
    int32_t first_seen(const Asking& token) const {
        return reading.window ? std::max(0, token.position + 1 - reading.window) : 0;
    }
    // What a token reads alone, after what its company has in common.
    Stretch own(const Asking& token, int32_t head, int32_t shared) const {
        return {rows.blocks(token.row), head, std::max(shared, first_seen(token)),
                token.position + 1};
    }
    // What tokens that share blocks read together.
    Stretch common(const Asking* tokens, int32_t count, int32_t head, int32_t shared) const {
        int32_t begin = shared, end = 0;
        for (int32_t i = 0; i < count; ++i) {
            begin = std::min(begin, first_seen(tokens[i]));
            end = std::max(end, std::min(shared, tokens[i].position + 1));
        }
        return {rows.blocks(tokens[0].row), head, begin, end};
    }
};

// A thread's own memory, kept between steps.
struct Scratch {
    std::vector<Query> queries;
    Memory states;

    void begin(const Work& work, const Asking* tokens, int32_t count, int32_t head) {
        const int32_t group = work.group(), width = work.cache.width;
        queries.clear();
        for (int32_t i = 0; i < count; ++i)
            for (int32_t g = 0; g < group; ++g) {
                const int64_t element = int64_t{head * group + g} * width;
                queries.push_back({work.q + tokens[i].place * work.q_stride + element,
                                   work.out + tokens[i].place * work.out_stride + element,
                                   work.first_seen(tokens[i]), tokens[i].position + 1});
            }
        const int64_t size = state_size(width);
        float* state = static_cast<float*>(states.grown(queries.size() * size * sizeof(float)));
        for (size_t i = 0; i < queries.size(); ++i, state += size) {
            std::fill_n(state, size, 0.f);
            state[width + LANES] = -INFINITY;
        }
    }
};

// One head of tokens that share their first `shared` positions: over these all of them together,
// then each over its own.
inline void attend_together(const Work& work, const Asking* tokens, int32_t count, int32_t head,
                            int32_t shared, const Stretch& next) {
    thread_local Scratch scratch;
    scratch.begin(work, tokens, count, head);
    const int32_t group = work.group();
    const int64_t size = state_size(work.cache.width);
    const float factor = work.reading.scale * 1.44269504f;  // e^x = 2^(x / ln 2)
    const Query* queries = scratch.queries.data();
    float* states = static_cast<float*>(scratch.states.data());

    const Stretch common = work.common(tokens, count, head, shared);
    if (!common.empty()) {
        const Stretch own = work.own(tokens[0], head, shared);
        walk(work.cache, factor, common, own.empty() ? next : own, queries, count * group, states);
    }
    for (int32_t i = 0; i < count; ++i) {
        const Stretch own = work.own(tokens[i], head, shared);
        if (own.empty()) continue;
        const bool last = i + 1 == count;
        walk(work.cache, factor, own, last ? next : work.own(tokens[i + 1], head, shared),
             queries + i * group, group, states + i * group * size);
    }
    for (int32_t i = 0; i < count * group; ++i)
        finish(queries[i], states + i * size, work.cache.width);
}

}  // namespace attention

// Every token of the step attends to what it may see; its own keys and values are stored already.
// `q` and `out` have a row of (query_heads, width) for each token, `stride` elements apart. Called
// by every thread of a region; ends without a barrier.
inline void attend(const Cache& cache, const Rows& rows, const Plan& plan, const Reading& reading,
                   const bf16* q, int64_t q_stride, bf16* out, int64_t out_stride) {
    const attention::Work work{cache, rows, plan, reading, q, q_stride, out, out_stride};
    const int32_t at_once = std::max(1, ROWS_AT_ONCE / work.group());
    const int64_t tasks = static_cast<int64_t>(plan.companies.size()) * cache.heads;
#pragma omp for schedule(dynamic, 3) nowait
    for (int64_t task = 0; task < tasks; ++task) {
        const Company& company = plan.companies[static_cast<size_t>(task / cache.heads)];
        const int32_t head = static_cast<int32_t>(task % cache.heads);
        const Asking* tokens = plan.tokens.data() + company.first;
        for (int32_t done = 0; done < company.count; done += at_once) {
            const int32_t count = std::min(at_once, company.count - done);
            attention::Stretch next{};
            if (head + 1 < cache.heads) next = work.own(tokens[0], head + 1, 0);
            attention::attend_together(work, tokens + done, count, head, company.shared, next);
        }
    }
}

// Stores the keys and values of the step's tokens, rows of (heads, width) that are `stride`
// elements apart. Called by every thread of a region; ends without a barrier.
inline void store(const Cache& cache, const Rows& rows, const bf16* keys, int64_t key_stride,
                  const bf16* values, int64_t value_stride) {
    const int32_t tokens = rows.tokens();
#pragma omp for schedule(static) nowait
    for (int32_t place = 0; place < tokens; ++place) {
        const int32_t row = rows.row_of(place);
        const int32_t position = rows.firsts[row] + place - rows.starts[row];
        const int32_t offset = position % BLOCK;
        for (int32_t head = 0; head < cache.heads; ++head) {
            bf16* unit = cache.unit(rows.blocks(row)[position / BLOCK], head);
            const bf16* key = keys + place * key_stride + int64_t{head} * cache.width;
            const bf16* value = values + place * value_stride + int64_t{head} * cache.width;
            bf16* key_pair = unit + 2 * offset;
            bf16* value_pair = unit + (BLOCK + offset / 2 * 2) * cache.width + offset % 2;
            for (int32_t d = 0; d < cache.width; d += 2)
                memcpy(key_pair + d * BLOCK, key + d, 2 * sizeof(bf16));
            for (int32_t d = 0; d < cache.width; ++d) value_pair[2 * d] = value[d];
        }
    }
}

}  // namespace kernels

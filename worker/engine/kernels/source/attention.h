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

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "plan.h"
#include "tile.h"

namespace kernels {

struct Reading {
    float scale;
    int32_t window;  // positions that a token sees, itself included; 0: all
    int32_t query_heads;
};

namespace attention {

constexpr int AT_ONCE = 96;  // queries whose states, together, fit the second-level cache

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

// Takes the states of queries over a stretch, span by span, in tiles of nearly equal size. While
// a tile is computed, memory that is needed soon is fetched: the next span, once, and at the end
// what is read afterwards, of which later(0), later(1), … are the first `laters` stretches.
template <typename Later>
void walk(const Cache& cache, float factor, const Stretch& stretch, const Query* queries, int count,
          float* states, int laters, const Later& later) {
    Span span;
    span.width = cache.width;
    span.factor = factor;
    const int tiles = (count + TILE - 1) / TILE;
    const int spans = (stretch.end - 1) / SPAN - stretch.begin / SPAN + 1;
    int place = std::min(0, laters - ((spans - 1) * (tiles - 1) + tiles));
    for (int32_t at = stretch.begin / SPAN * SPAN; at < stretch.end; at += SPAN) {
        span.at = at;
        locate(cache, stretch, at, span.units);
        for (int tile = 0; tile < tiles; ++tile) {
            span.ahead[0] = nullptr;
            if (tile == 0 && at + SPAN < stretch.end) {
                locate(cache, stretch, at + SPAN, span.ahead);
            } else if (++place > 0 && place <= laters) {
                const Stretch next = later(place - 1);
                if (!next.empty()) locate(cache, next, next.begin / SPAN * SPAN, span.ahead);
            }
            const int from = count * tile / tiles, to = count * (tile + 1) / tiles;
            pass_span(to - from, queries + from, span, states + from * state_size(cache.width));
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
        reset(state_size(width));
    }

    void reset(int64_t size) {
        float* state = static_cast<float*>(states.grown(queries.size() * size * sizeof(float)));
        for (size_t i = 0; i < queries.size(); ++i, state += size) {
            std::fill_n(state, size, 0.f);
            state[size - LANES] = -INFINITY;
        }
    }
};

#ifdef MERGE_APART  // a fault that the tests build: it must show in the bits of shared rows
inline void merge(const float* apart, float* state, int64_t size, float factor) {
    const int64_t largest = size - LANES;
    const float top = std::max(apart[largest], state[largest]);
    for (int64_t i = 0; i < largest; ++i)
        state[i] = apart[i] * std::exp2((apart[largest] - top) * factor) +
                   state[i] * std::exp2((state[largest] - top) * factor);
}
#endif

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

    const auto own = [&](int32_t i) {
        return i < count ? work.own(tokens[i], head, shared) : next;
    };
    const Stretch common = work.common(tokens, count, head, shared);
    if (!common.empty())
        walk(work.cache, factor, common, queries, count * group, states, count + 1, own);
#ifdef MERGE_APART
    const std::vector<float> apart(states, states + count * group * size);
    scratch.reset(size);
#endif
    for (int32_t i = 0; i < count; ++i)
        if (!own(i).empty())
            walk(work.cache, factor, own(i), queries + i * group, group, states + i * group * size,
                 1, [&](int) { return own(i + 1); });
#ifdef MERGE_APART
    for (int32_t i = 0; i < count * group; ++i)
        merge(apart.data() + i * size, states + i * size, size, factor);
#endif
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
    const int32_t at_once = std::max(1, attention::AT_ONCE / work.group());
    const int64_t tasks = static_cast<int64_t>(plan.companies.size()) * cache.heads;
    const auto company = [&](int64_t task) -> const Company& {
        return plan.companies[static_cast<size_t>(task / cache.heads)];
    };
    const auto head = [&](int64_t task) { return static_cast<int32_t>(task % cache.heads); };
    // The heads of a company lie side by side, so a thread takes them in a row if there are many.
    const int64_t at_least = tasks / (16 * omp_get_num_threads());
    const int64_t share = std::clamp<int64_t>(at_least, 1, cache.heads);
#pragma omp for schedule(dynamic, share) nowait
    for (int64_t task = 0; task < tasks; ++task) {
        const Company& here = company(task);
        const Asking* tokens = plan.tokens.data() + here.first;
        attention::Stretch next{};
        if (task + 1 < tasks)
            next = work.own(plan.tokens[static_cast<size_t>(company(task + 1).first)],
                            head(task + 1), 0);
        for (int32_t done = 0; done < here.count; done += at_once)
            attention::attend_together(work, tokens + done, std::min(at_once, here.count - done),
                                       head(task), here.shared, next);
    }
}

}  // namespace kernels

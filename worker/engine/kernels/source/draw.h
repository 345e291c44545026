// Draws the next token of each row from its logits: edits, mask, temperature, cuts, and the token
// where the row's random number falls. `sampling/sampler.py` says what is drawn.
//
// One thread draws a row, in an order of arithmetic that follows from the row alone. It works on a
// copy of the logits, filled up to whole tiles with tokens of no chance.

#pragma once

#include <cmath>

#include "weights.h"

namespace kernels {

// A token that may have come, and its log-probability.
struct Likely {
    int64_t token;
    double logprob;
};

// How a row's next token is drawn, and which it is.
struct Draw {
    const float* logits;  // (vocabulary,)
    double temperature;  // 0: the likeliest token is taken
    double top_p;        // 1 drops nothing
    double min_p;        // 0 drops nothing
    double typical_p;    // 1 drops nothing
    int64_t top_k;       // 0 drops nothing; less than the vocabulary
    double uniform;      // the row's random number, in (0, 1)
    double repetition, presence, frequency;  // penalties of the tokens that were seen
    const double* bias;                      // (biases, 2): a token, what is added to its logit
    int64_t biases;
    const int64_t* seen;  // (sightings, 2): a token, how often it was generated
    int64_t sightings;
    const int64_t* banned;  // (bans,) tokens
    int64_t bans;
    const uint32_t* allowed;  // a bit for each token; null: all may come
    int64_t alternatives;     // how many `likeliest` are wanted; -1: no log-probabilities at all

    Likely* likeliest;  // (alternatives,) found: of the logits as they came, the likeliest first
    double logprob;     // found: of the token, by the logits as they came
    int64_t token;      // found
    double largest;  // found: of the logits as they came; NaN if one of them is
    double highest;  // found: of the logits after edits and mask; -inf if no token may come

    bool changes_logits() const { return biases || sightings || bans || allowed; }
};

namespace drawing {  // what `draw_all` is made of

// Copies a row's logits; returns the largest, or NaN if one of them is.
inline float copy(const float* from, int64_t vocabulary, const Room& room) {
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 largest = none;
    __mmask16 odd = 0;
    for (int64_t at = 0; at < room.tokens; at += LANES) {
        const __m512 part = _mm512_mask_loadu_ps(none, first(vocabulary - at), from + at);
        odd |= _mm512_cmp_ps_mask(part, part, _CMP_UNORD_Q);
        largest = _mm512_max_ps(largest, part);
        store(room.logits + at, part);
    }
    return odd ? NAN : maximum(largest);
}

// Writes a row's edits into its logits. Returns false if one of their tokens does not exist.
inline bool edit(const Draw& row, int64_t vocabulary, float* logits) {
    const auto exists = [=](int64_t token) { return token >= 0 && token < vocabulary; };
    for (int64_t n = 0; n < row.biases; ++n) {
        const int64_t token = static_cast<int64_t>(row.bias[2 * n]);
        if (!exists(token)) return false;
        logits[token] += static_cast<float>(row.bias[2 * n + 1]);
    }
    const float repetition = static_cast<float>(row.repetition);
    const float presence = static_cast<float>(row.presence);
    const float frequency = static_cast<float>(row.frequency);
    for (int64_t n = 0; n < row.sightings; ++n) {
        const int64_t token = row.seen[2 * n];
        if (!exists(token)) return false;
        const float times = static_cast<float>(row.seen[2 * n + 1]), old = logits[token];
        const float scaled = old > 0 ? old / repetition : old * repetition;
        logits[token] = scaled - frequency * times - (times > 0 ? presence : 0.f);
    }
    for (int64_t n = 0; n < row.bans; ++n) {
        if (!exists(row.banned[n])) return false;
        logits[row.banned[n]] = -INFINITY;
    }
    return true;
}

// Takes all chance from the tokens that are not allowed; returns the largest logit that is left.
inline float mask(const uint32_t* allowed, int64_t vocabulary, float* logits) {
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 largest = none;
    for (int64_t at = 0; at < vocabulary; at += LANES) {
        const uint32_t bits = allowed ? allowed[at / 32] >> at % 32 : ~0u;
        const __mmask16 lanes = static_cast<__mmask16>(bits);
        const __m512 part = _mm512_mask_mov_ps(none, lanes, load(logits + at));
        largest = _mm512_max_ps(largest, part);
        store(logits + at, part);
    }
    return maximum(largest);
}

// The first token with this logit.
inline int64_t first_with(float logit, const Room& room) {
    const __m512 wanted = _mm512_set1_ps(logit);
    for (int64_t at = 0; at < room.tokens; at += LANES)
        if (const __mmask16 lanes =
                _mm512_cmp_ps_mask(load(room.logits + at), wanted, _CMP_EQ_OQ))
            return at + __builtin_ctz(lanes);
    return 0;
}

// Finds the `count` likeliest tokens, the lowest id first among equals. A log-probability is the
// logit less `base`.
inline void find_likeliest(Likely* to, int64_t count, double base, const Room& room) {
    if (!count) return;
    const __m512 least = _mm512_set1_ps(kth_largest(count, room));
    const __m512i lane =
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    int64_t held = 0;
    for (int64_t at = 0; at < room.tokens; at += LANES) {
        const __mmask16 lanes = _mm512_cmp_ps_mask(load(room.logits + at), least, _CMP_GE_OQ);
        if (!lanes) continue;
        const __m512i ids = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(at)), lane);
        _mm512_storeu_si512(room.keys + held, _mm512_maskz_compress_epi32(lanes, ids));
        held += __builtin_popcount(lanes);
    }
    const auto comes_first = [&](uint32_t one, uint32_t other) {
        const float a = room.logits[one], b = room.logits[other];
        return a > b || (a == b && one < other);
    };
    std::partial_sort(room.keys, room.keys + count, room.keys + held, comes_first);
    for (int64_t n = 0; n < count; ++n)
        to[n] = {room.keys[n], static_cast<float>(room.logits[room.keys[n]] - base)};
}

// The token of a row whose largest logit is `top`, a finite one.
inline int64_t sample(const Draw& row, float top, const Room& room) {
    const __m512 highest = _mm512_set1_ps(top);
    const __m512 factor = _mm512_set1_ps(static_cast<float>(LOG2_E / row.temperature));
    const auto power_of = [&](int64_t at) {
        return _mm512_mul_ps(_mm512_sub_ps(load(room.logits + at), highest), factor);
    };
    const __m512 least =
        _mm512_set1_ps(row.top_k ? kth_largest(row.top_k, room) : -INFINITY);
    double total = weigh(room, [&](int64_t at) {
        const __mmask16 kept = _mm512_cmp_ps_mask(load(room.logits + at), least, _CMP_GE_OQ);
        return _mm512_maskz_mov_ps(kept, exp2(power_of(at)));
    });
    float floor = static_cast<float>(row.min_p);
    if (row.top_p < 1) floor = std::max(floor, share_floor(row.top_p * total, total, room));
    if (floor > 0)
        total = weigh(room, [&](int64_t at) {
            const __m512 weights = load(room.weights + at);
            const __mmask16 kept =
                _mm512_cmp_ps_mask(weights, _mm512_set1_ps(floor), _CMP_GE_OQ);
            return _mm512_maskz_mov_ps(kept, weights);
        });
    if (row.typical_p < 1) total = keep_typical(row.typical_p, total, room, power_of);
    return token_at(row.uniform * total, room);
}

// The log of the sum of the powers of e that the logits are exponents of.
inline double log_sum(float largest, const Room& room) {
    const double total = weigh(room, [&](int64_t at) {
        const __m512 below = _mm512_sub_ps(load(room.logits + at), _mm512_set1_ps(largest));
        return exp2(_mm512_mul_ps(below, _mm512_set1_ps(static_cast<float>(LOG2_E))));
    });
    return largest + std::log(total);
}

// Draws one row. Returns false if an edit's token does not exist.
inline bool draw(Draw& row, int64_t vocabulary, const Room& room) {
    const float largest = copy(row.logits, vocabulary, room);
    row.token = 0;
    row.largest = row.highest = largest;
    if (!std::isfinite(largest)) return true;
    double base = 0;
    if (row.alternatives >= 0) {
        base = log_sum(largest, room);
        find_likeliest(row.likeliest, row.alternatives, base, room);
    }
    float top = largest;
    if (row.changes_logits()) {
        if (!edit(row, vocabulary, room.logits)) return false;
        row.highest = top = mask(row.allowed, vocabulary, room.logits);
    }
    const bool any = row.temperature > 0 && std::isfinite(top);
    row.token = any ? sample(row, top, room) : first_with(top, room);
    row.logprob = static_cast<float>(row.logits[row.token] - base);
    return true;
}

}  // namespace drawing

// What a thread that calls `draw_all` keeps between calls.
inline thread_local Memory drawn_in;

// Draws rows in a parallel region of its own. Returns false if an edit's token does not exist.
// Throws std::bad_alloc.
inline bool draw_all(Draw* rows, int64_t count, int64_t vocabulary) {
    const int64_t bytes = drawing::Room::bytes(vocabulary);
    char* memory = static_cast<char*>(
        drawn_in.grown(static_cast<size_t>(bytes * omp_get_max_threads())));
    bool exist = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : exist) if (count > 1)
    for (int64_t n = 0; n < count; ++n) {
        const drawing::Room room(vocabulary, memory + bytes * omp_get_thread_num());
        exist = drawing::draw(rows[n], vocabulary, room) && exist;
    }
    return exist;
}

}  // namespace kernels

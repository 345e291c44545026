// The weights of one row's tokens, and cuts: which tokens are kept, by their number, their share of
// the mass, or how typical they are.
//
// Each function goes through a row in the order of token ids, a vector at a time, in an order of
// arithmetic that follows from the row alone.

#pragma once

#include <cmath>
#include <functional>

#include "simd.h"

namespace kernels {

namespace drawing {  // what `draw_all` is made of

constexpr int64_t TILE = 256;       // tokens whose weights are summed together
constexpr int64_t MORE = 256;       // values that are looked at before a cut is made
constexpr int BUCKET_BITS = 11;     // of a key, that are looked at together
constexpr double LOG2_E = 1.4426950408889634;

// What a thread draws a row in.
class Room {
  public:
    int64_t tokens;  // the vocabulary, filled up to whole tiles
    float* logits;   // (tokens,)
    float* weights;  // (tokens,): of the likeliest token 1, of a token that is dropped 0
    double* sums;    // (tokens / TILE,) running sums of the weights
    uint32_t* keys;  // (tokens + LANES,) of tokens that are picked out, with their `masses`
    float* masses;   // (2 tokens + MORE + LANES,)

    // Divides the memory at `base`.
    Room(int64_t vocabulary, char* base) : tokens((vocabulary + TILE - 1) / TILE * TILE) {
        char* at = base;
        take(at, logits, tokens);
        take(at, weights, tokens);
        take(at, sums, tokens / TILE);
        take(at, keys, tokens + LANES);
        take(at, masses, 2 * tokens + MORE + LANES);
        bytes_ = at - base;
    }

    // How much memory it takes.
    static int64_t bytes(int64_t vocabulary) { return Room(vocabulary, nullptr).bytes_; }

  private:
    template <class T>
    static void take(char*& at, T*& part, int64_t count) {
        part = reinterpret_cast<T*>(at);
        at += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;  // whole cache lines
    }

    int64_t bytes_;
};

// The `count`-th largest logit, or -inf if fewer are above that.
//
// Values above a cut are put aside. Whenever there are many, all but the largest `count` are
// dropped, and the least of these is the next cut.
inline float kth_largest(int64_t count, const Room& room) {
    float cut = -INFINITY;
    int64_t held = 0;
    const auto drop = [&] {
        std::nth_element(room.masses, room.masses + count - 1, room.masses + held,
                         std::greater<float>());
        cut = room.masses[count - 1];
        held = count;
    };
    for (int64_t at = 0; at < room.tokens; at += LANES) {
        const __m512 part = load(room.logits + at);
        const __mmask16 above = _mm512_cmp_ps_mask(part, _mm512_set1_ps(cut), _CMP_GT_OQ);
        if (!above) continue;
        store(room.masses + held, _mm512_maskz_compress_ps(above, part));
        held += __builtin_popcount(above);
        if (held >= 2 * count + MORE) drop();
    }
    if (held >= count) drop();
    return cut;
}

// Gives every token the weight that `weight_of` says, a vector at a time; returns their sum.
template <class WeightOf>
KERNELS_INLINE double weigh(const Room& room, WeightOf weight_of) {
    double total = 0;
    for (int64_t tile = 0; tile < room.tokens; tile += TILE) {
        __m512 mass = _mm512_setzero_ps();
        for (int64_t at = tile; at < tile + TILE; at += LANES) {
            const __m512 weights = weight_of(at);
            store(room.weights + at, weights);
            mass = _mm512_add_ps(mass, weights);
        }
        room.sums[tile / TILE] = total += sum(mass);
    }
    return total;
}

// Picks out the tokens whose weight reaches `least` and is not 0, in the order of ids, with the
// keys that `key_of` gives to vectors of them; returns how many there are.
template <class KeyOf>
KERNELS_INLINE int64_t pick_out(const Room& room, float least, KeyOf key_of) {
    int64_t count = 0;
    for (int64_t at = 0; at < room.tokens; at += LANES) {
        const __m512 weights = load(room.weights + at);
        const __mmask16 lanes =
            _mm512_cmp_ps_mask(weights, _mm512_set1_ps(least), _CMP_GE_OQ) &
            _mm512_cmp_ps_mask(weights, _mm512_setzero_ps(), _CMP_GT_OQ);
        if (!lanes) continue;
        store(room.masses + count, _mm512_maskz_compress_ps(lanes, weights));
        _mm512_storeu_si512(room.keys + count,
                            _mm512_maskz_compress_epi32(lanes, key_of(at, weights)));
        count += __builtin_popcount(lanes);
    }
    return count;
}

// Of the first `count` keys: the least one such that the keys up to it have the mass `needed`; the
// largest one if rounding keeps all from having it.
//
// Masses are added up by the first bits of their keys. What has the bits with which `needed` is
// reached is looked at again, by the bits that follow, until all keys that are left are equal.
inline uint32_t key_reaching(double needed, int64_t count, const Room& room) {
    constexpr uint32_t BUCKETS = 1u << BUCKET_BITS;
    for (const int shift : {32 - BUCKET_BITS, 32 - 2 * BUCKET_BITS, 0}) {
        const auto bucket_of = [=](uint32_t key) { return key >> shift & (BUCKETS - 1); };
        double masses[BUCKETS] = {};
        for (int64_t n = 0; n < count; ++n) masses[bucket_of(room.keys[n])] += room.masses[n];
        uint32_t reached = 0;
        double before = 0, sum = 0;
        for (uint32_t bucket = 0; bucket < BUCKETS && !(sum >= needed && sum > 0); ++bucket) {
            if (masses[bucket] == 0) continue;
            reached = bucket;
            before = sum;
            sum += masses[bucket];
        }
        needed -= before;
        int64_t left = 0;
        for (int64_t n = 0; n < count; ++n) {
            room.keys[left] = room.keys[n];
            room.masses[left] = room.masses[n];
            left += bucket_of(room.keys[n]) == reached;
        }
        count = left;
    }
    return room.keys[0];
}

// top_p: the largest weight such that the tokens that reach it have the mass `needed`.
inline float share_floor(double needed, double total, const Room& room) {
    // Tokens below have less together than what may be lacking.
    const float least = static_cast<float>((total - needed) / static_cast<double>(room.tokens));
    const auto falling = [](int64_t, __m512 weights) {
        return _mm512_xor_si512(_mm512_castps_si512(weights), _mm512_set1_epi32(-1));
    };
    const uint32_t bits = ~key_reaching(needed, pick_out(room, least, falling), room);
    float floor;
    memcpy(&floor, &bits, sizeof floor);
    return floor;
}

// typical_p: keeps the tokens whose surprise is nearest to the entropy, as many as have `share` of
// the mass. Returns what they have. `power_of` gives the powers of two that were the weights.
//
// A surprise is a constant less that power, and so is the entropy less the mean power.
template <class PowerOf>
KERNELS_INLINE double keep_typical(double share, double total, const Room& room,
                                   PowerOf power_of) {
    double powers = 0;
    for (int64_t tile = 0; tile < room.tokens; tile += TILE) {
        __m512 part = _mm512_setzero_ps();
        for (int64_t at = tile; at < tile + TILE; at += LANES) {
            const __m512 weights = load(room.weights + at);
            const __mmask16 some = _mm512_cmp_ps_mask(weights, _mm512_setzero_ps(), _CMP_GT_OQ);
            part = _mm512_mask3_fmadd_ps(weights, power_of(at), part, some);
        }
        powers += sum(part);
    }
    const __m512 mean = _mm512_set1_ps(static_cast<float>(powers / total));
    const auto distance = [&](int64_t at) {
        return _mm512_abs_ps(_mm512_sub_ps(power_of(at), mean));
    };
    const auto rising = [&](int64_t at, __m512) { return _mm512_castps_si512(distance(at)); };
    const uint32_t bits = key_reaching(share * total, pick_out(room, 0, rising), room);
    const __m512 farthest = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(bits)));
    return weigh(room, [&](int64_t at) {
        const __mmask16 near = _mm512_cmp_ps_mask(distance(at), farthest, _CMP_LE_OQ);
        return load(room.weights + at, near);
    });
}

// The token where `target` falls in the running sum of the weights.
inline int64_t token_at(double target, const Room& room) {
    // Rounding may put the target at the very end: the last one with any weight is taken then.
    int64_t tile = 0;
    double before = 0;
    for (int64_t n = 0; n < room.tokens / TILE && room.sums[tile] <= target; ++n) {
        const double start = n ? room.sums[n - 1] : 0;
        if (room.sums[n] == start) continue;
        tile = n;
        before = start;
    }
    int64_t token = tile * TILE;
    double sum = before;
    for (int64_t at = tile * TILE; at < (tile + 1) * TILE && sum <= target; ++at) {
        if (room.weights[at] == 0) continue;
        token = at;
        sum += room.weights[at];
    }
    return token;
}

}  // namespace drawing

}  // namespace kernels

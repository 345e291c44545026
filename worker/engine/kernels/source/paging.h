// Where keys and values lie, and the rows of a step.
//
// The cache of a layer consists of units, one for each block of BLOCK positions and each head:
//
//     unit = keys [width / 2][BLOCK][2], then values [BLOCK / 2][width][2]      32 * width bf16
//
// The instruction for products takes pairs: of neighbouring elements along the width for queries
// with keys, of neighbouring positions for weights with values. In this order 16 lanes are 16
// positions of a key pair, or 16 elements of a value pair, and nothing is summed across lanes.

#pragma once

#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace kernels {

constexpr int BLOCK = 16;  // positions in a block of the cache
constexpr int SPAN = 64;   // positions in a step of attention, at absolute places 0, 64, 128, …
constexpr int SPAN_BLOCKS = SPAN / BLOCK;

struct Cache {
    bf16* units;  // that of block b and head h begins at (b * heads + h) * 2 * BLOCK * width
    int32_t heads;
    int32_t width;  // of a key, and of a value: a multiple of 16 up to 256

    int64_t unit_size() const { return int64_t{2} * BLOCK * width; }
    bf16* unit(int32_t block, int32_t head) const {
        return units + (int64_t{block} * heads + head) * unit_size();
    }
};

// The rows of a step: chunks of prompts, and single tokens of texts that are being generated.
struct Rows {
    int32_t count;
    const int32_t* starts;  // (count + 1,) place of each row's first token in the step
    const int32_t* firsts;  // (count,) position of that token in its sequence
    const int32_t* table;   // (count, table_width) the blocks of each row
    int32_t table_width;

    int32_t tokens() const { return starts[count]; }
    int32_t length(int32_t row) const { return starts[row + 1] - starts[row]; }
    int32_t row_of(int32_t place) const {
        return static_cast<int32_t>(std::upper_bound(starts, starts + count, place) - starts) - 1;
    }
    const int32_t* blocks(int32_t row) const { return table + int64_t{row} * table_width; }
};

// Writes one token's key and value of one head into its unit, at `offset` of the block.
KERNELS_INLINE void store_head(bf16* unit, int32_t width, int32_t offset, const bf16* key,
                               const bf16* value) {
    for (int32_t d = 0; d < width; d += 2)
        memcpy(unit + d * BLOCK + 2 * offset, key + d, 2 * sizeof(bf16));
    // The other half of each pair is a neighbour's, which another thread may be writing.
    const bool odd = offset % 2;
    const __mmask32 own = odd ? 0xaaaaaaaa : 0x55555555;
    bf16* pairs = unit + (BLOCK + offset / 2 * 2) * width;
    for (int32_t d = 0; d < width; d += LANES) {
        const __m512i values = _mm512_cvtepu16_epi32(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(value + d)));
        _mm512_mask_storeu_epi16(pairs + 2 * d, own, odd ? _mm512_slli_epi32(values, 16) : values);
    }
}

// Stores the keys and values, (heads, width) each, of the step's token at `place`.
inline void store_token(const Cache& cache, const Rows& rows, int32_t place, const bf16* keys,
                        const bf16* values) {
    const int32_t row = rows.row_of(place);
    const int32_t position = rows.firsts[row] + place - rows.starts[row];
    const int32_t block = rows.blocks(row)[position / BLOCK];
    for (int32_t head = 0; head < cache.heads; ++head)
        store_head(cache.unit(block, head), cache.width, position % BLOCK,
                   keys + int64_t{head} * cache.width, values + int64_t{head} * cache.width);
}

// Stores those of all tokens, which are `stride` elements apart. Called by every thread of a
// region; ends without a barrier.
inline void store(const Cache& cache, const Rows& rows, const bf16* keys, int64_t key_stride,
                  const bf16* values, int64_t value_stride) {
    const int32_t tokens = rows.tokens();
#pragma omp for schedule(static) nowait
    for (int32_t place = 0; place < tokens; ++place)
        store_token(cache, rows, place, keys + place * key_stride, values + place * value_stride);
}

}  // namespace kernels

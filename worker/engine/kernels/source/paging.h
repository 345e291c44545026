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

// Linear layers of either kind of weights, their work divided among the threads of a region.

#pragma once

#include "int8.h"

namespace kernels {

constexpr int64_t ITEM_ROWS = 256;           // that read a tile of weights while it is in the cache
constexpr int64_t ITEM_BYTES = 768 << 10;  // of these rows, which stay in the cache beside it
constexpr int64_t THREAD_ITEMS = 4;          // at least, where there are rows enough

// Bytes of packed weights.
constexpr int64_t packed_bytes(int32_t kind, int64_t outs, int64_t ins) {
    const int64_t packed_outs = (outs + TILE_OUTS - 1) / TILE_OUTS * TILE_OUTS;
    return packed_outs * (kind == INT8 ? (ins + 3) / 4 * 4 : (ins + 1) / 2 * 4);
}

// How many rows one item of work has: the fewer tiles and the more threads, the fewer rows.
inline int64_t rows_of_item(const Linear& layer, int64_t rows, int64_t tiles, int threads) {
    const int64_t bytes = layer.ins * (layer.kind == INT8 ? 1 : 2);
    int64_t step = std::min(ITEM_ROWS, ITEM_BYTES / bytes);
    const int64_t wanted = (THREAD_ITEMS * threads + tiles - 1) / tiles;  // items of a tile
    step = std::min(step, (rows + wanted - 1) / wanted);
    return std::max<int64_t>((step + BF16_ROWS - 1) / BF16_ROWS, 1) * BF16_ROWS;
}

// The functions that compute tiles of 1, 2, 3 … rows, where there are `rows` in all.
inline const ComputeTile* tiles_for(const Linear& layer, int64_t rows) {
    if (layer.kind == INT8)
        return rows <= INT8_FEW ? INT8_TILES<Ahead::NEAR> : INT8_TILES<Ahead::NEXT_TILE>;
    return rows <= BF16_FEW ? BF16_TILES<Ahead::NEAR> : BF16_TILES<Ahead::NEXT_TILE>;
}

// Computes `layer` of `rows` rows. Every thread of a parallel region calls it, and returns when
// its own part is done: a barrier must come before anything reads the output.
//
// Logits of many rows go past the caches, which they would fill: they are read much later.
inline void linear(const Linear& layer, const Input& input, int64_t rows, Output output) {
    if (rows > BF16_FEW && output.streams()) output.kind = STREAMED;
    const ComputeTile* compute = tiles_for(layer, rows);
    const int64_t most = layer.kind == INT8 ? INT8_ROWS : BF16_ROWS;
    const int64_t tiles = (layer.outs + TILE_OUTS - 1) / TILE_OUTS;
    const int64_t step = rows_of_item(layer, rows, tiles, omp_get_num_threads());
    const int64_t items = (rows + step - 1) / step * tiles;
#pragma omp for schedule(static) nowait
    for (int64_t item = 0; item < items; item++) {
        const int64_t tile = item % tiles, from = item / tiles * step;
        const int64_t end = std::min(rows, from + step);
        for (int64_t row = from; row < end; row += most)
            compute[std::min(most, end - row) - 1](layer, input, row, tile, output);
    }
    if (output.kind == STREAMED) _mm_sfence();
}

// Quantises `rows` rows for int8 products. Every thread of a region calls it, as it does `linear`.
inline void quantise(const Linear& layer, const Input& input, int64_t rows) {
    const int64_t width = code_width(layer.ins), groups = group_count(layer.ins, layer.group);
#pragma omp for schedule(static) nowait
    for (int64_t row = 0; row < rows; row++)
        quantise_row(input.rows + row * input.stride, layer.ins, layer.group,
                     input.codes + row * width, input.scales + row * groups,
                     input.offsets + row * groups);
}

// What a thread that calls `run_linear` keeps between calls for quantised rows.
inline thread_local Memory quantised;

// Computes a layer of bf16 rows in a parallel region of its own.
inline void run_linear(const Linear& layer, const bf16* rows, int64_t stride, int64_t count,
                       const Output& output) {
    Input input{rows, stride, nullptr, nullptr, nullptr};
    if (layer.kind == INT8) {
        const int64_t width = code_width(layer.ins), groups = group_count(layer.ins, layer.group);
        input.scales = static_cast<float*>(quantised.grown(count * (width + 8 * groups)));
        input.offsets = reinterpret_cast<int32_t*>(input.scales + count * groups);
        input.codes = reinterpret_cast<int8_t*>(input.offsets + count * groups);
    }
#pragma omp parallel
    {
        if (layer.kind == INT8) {
            quantise(layer, input, count);
#pragma omp barrier
        }
        linear(layer, input, count, output);
    }
}

}  // namespace kernels

// Products of bfloat16 rows with weights that were laid out once.
//
// Each element of a result is one chain of fused additions along its inputs, from the first to the
// last, whatever the number of rows and threads: so its bits depend on its own row and weights.
//
// Packed weights: [outs / 48][ins / 2][48][2], both divisions rounded up and the rest zero. A tile
// of 48 outs lies together in the order in which it is read, 192 bytes for each pair of inputs.

#pragma once

#include "simd.h"

namespace kernels {

constexpr int VECTORS = 3;                  // of sums in each row of a tile
constexpr int TILE_OUTS = VECTORS * LANES;  // 48
constexpr int BF16_ROWS = 8;                // of a tile: 24 sums fill the 32 registers well

// Few rows wait for weights only, and ask for those a little ahead. More rows keep a tile's weights
// for a while, and ask for the next tile's meanwhile, into the larger cache.
enum class Ahead { NEAR, NEXT_TILE };
constexpr int NEAR_BYTES = 4096;
constexpr int BF16_FEW = 5;  // rows

enum Kind : int32_t { BF16 = 0, INT8 = 1 };

// A packed linear layer: (rows, ins) -> (rows, outs).
struct Linear {
    int32_t kind;         // of its products, a Kind
    int32_t outs, ins;
    int32_t group;        // int8 only: inputs that share a scale, a multiple of 16
    const void* weights;  // as `pack_bf16` or `pack_int8` laid them out
    const float* scales;  // (outs,), int8 only
    const float* bias;    // (outs,) or null
};

// What a layer reads: `rows` for bf16, the others, as `quantise_row` writes them, for int8.
struct Input {
    const bf16* rows;  // (rows, ins)
    int64_t stride;    // numbers from one of these rows to the next
    int8_t* codes;     // (rows, code_width(ins))
    float* scales;     // (rows, groups)
    int32_t* offsets;  // (rows, groups)
};

enum Written : int32_t { HALVES = 0, FLOATS = 1, ADDED = 2, STREAMED = 3 };

// Where the results go.
struct Output {
    void* rows;      // (rows, outs): float for FLOATS and STREAMED, else bf16
    int64_t stride;  // numbers from one row to the next
    int32_t kind;    // a Written; ADDED adds to what is there, and rounds once

    // Whether the results can be STREAMED, past the caches: each vector must fill a cache line.
    bool streams() const {
        return kind == FLOATS && stride % LANES == 0 && reinterpret_cast<uintptr_t>(rows) % 64 == 0;
    }
};

// Computes as many rows of one tile as it is made for, and writes them.
using ComputeTile = void (*)(const Linear&, const Input&, int64_t row, int64_t tile,
                             const Output&);

template <Ahead AHEAD>
KERNELS_INLINE void prefetch(const void* weights, int64_t tile_bytes) {
    const char* from = static_cast<const char*>(weights);
    if constexpr (AHEAD == Ahead::NEAR)
        _mm_prefetch(from + NEAR_BYTES, _MM_HINT_T0);
    else
        _mm_prefetch(from + tile_bytes, _MM_HINT_T1);
}

// Writes the first `outs` columns of a tile; all of them, by faster instructions, if it is `WHOLE`.
template <bool WHOLE, Written KIND, int ROWS, typename Number>
KERNELS_INLINE void write_columns(const __m512 (&sums)[ROWS][VECTORS], Number* to,
                                  int64_t stride, int64_t outs) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) {
            Number* place = to + r * stride + v * LANES;
            const __mmask16 lanes = WHOLE ? 0xffff : first(outs - v * LANES);
            const __m512 sum =
                KIND == ADDED ? _mm512_add_ps(load(place, lanes), sums[r][v]) : sums[r][v];
            if constexpr (WHOLE && KIND == STREAMED)
                stream(place, sum);
            else if constexpr (WHOLE)
                store(place, sum);
            else
                store(place, sum, lanes);
        }
    }
}

template <Written KIND, int ROWS, typename Number>
KERNELS_INLINE void write(const __m512 (&sums)[ROWS][VECTORS], Number* to, int64_t stride,
                          int64_t outs) {
    if (outs >= TILE_OUTS)
        write_columns<true, KIND>(sums, to, stride, outs);
    else
        write_columns<false, KIND>(sums, to, stride, outs);
}

// Adds the bias to a tile's sums and writes them as the output wants them.
template <int ROWS>
KERNELS_INLINE void finish(__m512 (&sums)[ROWS][VECTORS], const Linear& layer, int64_t row,
                           int64_t tile, const Output& output) {
    const int64_t out = tile * TILE_OUTS, outs = layer.outs - out;
    const int64_t stride = output.stride, place = row * stride + out;
    if (layer.bias) {
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) {
            const __m512 bias = load(layer.bias + out + v * LANES, first(outs - v * LANES));
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) sums[r][v] = _mm512_add_ps(sums[r][v], bias);
        }
    }
    if (output.kind == STREAMED)
        write<STREAMED>(sums, static_cast<float*>(output.rows) + place, stride, outs);
    else if (output.kind == FLOATS)
        write<FLOATS>(sums, static_cast<float*>(output.rows) + place, stride, outs);
    else if (output.kind == ADDED)
        write<ADDED>(sums, static_cast<bf16*>(output.rows) + place, stride, outs);
    else
        write<HALVES>(sums, static_cast<bf16*>(output.rows) + place, stride, outs);
}

// Adds one pair of inputs of each row to the sums; `pair_of(r)` has row r's in all lanes.
template <Ahead AHEAD, int ROWS, typename PairOf>
KERNELS_INLINE void add_pair(__m512 (&sums)[ROWS][VECTORS], const bf16* weights,
                             int64_t tile_bytes, PairOf pair_of) {
    __m512i columns[VECTORS];
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; v++) {
        columns[v] = _mm512_loadu_si512(weights + v * 2 * LANES);
        prefetch<AHEAD>(weights + v * 2 * LANES, tile_bytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        const __m512i pair = pair_of(r);
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) sums[r][v] = dot2(sums[r][v], pair, columns[v]);
    }
}

template <Ahead AHEAD, int ROWS>
__attribute__((noinline)) void bf16_tile(const Linear& layer, const Input& input, int64_t row,
                                         int64_t tile, const Output& output) {
    const int64_t pairs = layer.ins / 2, stride = input.stride;
    const int64_t tile_bytes = (layer.ins + 1) / 2 * TILE_OUTS * 4;
    const bf16* rows = input.rows + row * stride;
    const bf16* weights = static_cast<const bf16*>(layer.weights) + tile * tile_bytes / 2;
    __m512 sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) sums[r][v] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++, weights += 2 * TILE_OUTS)
        add_pair<AHEAD>(sums, weights, tile_bytes,
                        [&](int r) { return broadcast(rows + r * stride + 2 * p); });
    if (layer.ins % 2)  // the last input with a zero, as its weights have: what follows is not ours
        add_pair<AHEAD>(sums, weights, tile_bytes, [&](int r) {
            return _mm512_set1_epi32(rows[r * stride + layer.ins - 1]);
        });
    finish(sums, layer, row, tile, output);
}

// For 1 to 8 rows.
template <Ahead AHEAD>
constexpr ComputeTile BF16_TILES[BF16_ROWS] = {
    bf16_tile<AHEAD, 1>, bf16_tile<AHEAD, 2>, bf16_tile<AHEAD, 3>, bf16_tile<AHEAD, 4>,
    bf16_tile<AHEAD, 5>, bf16_tile<AHEAD, 6>, bf16_tile<AHEAD, 7>, bf16_tile<AHEAD, 8>,
};

// Lays out (outs, ins) weights. To be called by every thread of a region, like `linear`.
inline void pack_bf16(const bf16* weights, void* to, int64_t outs, int64_t ins) {
    const int64_t pairs = (ins + 1) / 2;
#pragma omp for schedule(static) nowait
    for (int64_t tile = 0; tile < (outs + TILE_OUTS - 1) / TILE_OUTS; tile++) {
        bf16* packed = static_cast<bf16*>(to) + tile * pairs * 2 * TILE_OUTS;
        memset(packed, 0, pairs * 2 * TILE_OUTS * sizeof(bf16));
        for (int64_t j = 0; j < std::min<int64_t>(TILE_OUTS, outs - tile * TILE_OUTS); j++) {
            const bf16* row = weights + (tile * TILE_OUTS + j) * ins;
            for (int64_t k = 0; k + 1 < ins; k += 2)
                memcpy(packed + k * TILE_OUTS + 2 * j, row + k, 2 * sizeof(bf16));
            if (ins % 2) packed[(ins - 1) * TILE_OUTS + 2 * j] = row[ins - 1];
        }
    }
}

}  // namespace kernels

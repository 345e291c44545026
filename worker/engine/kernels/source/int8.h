// Products in int8: weights with one scale for each out, rows with one for each group of inputs.
//
// A group's products are summed exactly, in int32; its sum times the group's scale is added to one
// float32 chain, group after group, and the out's scale is applied last.
//
// Packed weights: [outs / 48][ins / 4][48][4] bytes, both divisions rounded up. The instruction
// multiplies unsigned with signed bytes, so a weight w of -127 to 127 is stored as w + 128, and a
// row has for each of its groups an offset of -128 times the sum of its codes, where sums begin.

#pragma once

#include "gemm.h"

namespace kernels {

constexpr int INT8_ROWS = 4;   // of a tile: 12 sums of each type; 8 rows do not fit the registers
constexpr int INT8_FEW = 4;    // rows, as `BF16_FEW`
constexpr int INT8_MOST = 127;
constexpr float INT8_LEAST = 1e-30f;  // smaller numbers count as zero: 127 / 1e-40 is infinite

// Bytes of a row's codes.
constexpr int64_t code_width(int64_t ins) { return (ins + LANES - 1) / LANES * LANES; }
constexpr int64_t group_count(int64_t ins, int64_t group) { return (ins + group - 1) / group; }

KERNELS_INLINE __m512i magnitude_bits(__m512 values) {
    return _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(0x7fffffff));
}

// The largest magnitude of `count` numbers; a NaN or infinity if there is one.
KERNELS_INLINE float largest(const bf16* numbers, int64_t count) {
    __m512i most = _mm512_setzero_si512();  // as bits, which are in the numbers' order, NaN last
    for (int64_t i = 0; i < count; i += LANES)
        most = _mm512_max_epi32(most, magnitude_bits(load(numbers + i, first(count - i))));
    const int32_t bits = _mm512_reduce_max_epi32(most);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// What `codes` of -127 to 127 are to be multiplied with, for numbers up to `most`: NaN if that is
// not finite, so that all that is computed from them is NaN and nothing looks sound.
KERNELS_INLINE float scale_of(float most) {
    if (!(most <= 3.4e38f)) return __builtin_nanf("");
    return most < INT8_LEAST ? 0.f : most / INT8_MOST;
}

// Codes of 16 numbers; all 0 where their scale is 0 or NaN. The rest of 16 is 0 too.
KERNELS_INLINE __m512i codes_of(const bf16* numbers, __mmask16 lanes, float most) {
    const bool usable = most >= INT8_LEAST && most <= 3.4e38f;
    const __m512 scaled = _mm512_mul_ps(load(numbers, usable ? lanes : __mmask16{0}),
                                        _mm512_set1_ps(usable ? INT8_MOST / most : 0.f));
    return _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// Quantises one row: `codes` (code_width(width),), `scales` and `offsets` (groups,).
inline void quantise_row(const bf16* row, int64_t width, int group, int8_t* codes, float* scales,
                         int32_t* offsets) {
    for (int64_t from = 0, g = 0; from < width; from += group, g++) {
        const int64_t count = std::min<int64_t>(group, width - from);
        const float most = largest(row + from, count);
        __m512i sums = _mm512_setzero_si512();
        for (int64_t i = 0; i < count; i += LANES) {
            const __m512i found = codes_of(row + from + i, first(count - i), most);
            sums = _mm512_add_epi32(sums, found);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + from + i),
                             _mm512_cvtsepi32_epi8(found));
        }
        scales[g] = scale_of(most);
        offsets[g] = -128 * _mm512_reduce_add_epi32(sums);
    }
}

// sums + the products of each lane's four bytes.
KERNELS_INLINE __m512i dot4(__m512i sums, __m512i unsigned_bytes, __m512i signed_bytes) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
#else
    // gcc 12 copies the sums around its own intrinsic, which then do not fit the registers.
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
    return sums;
#endif
}

// Adds four inputs of each row to the sums.
template <Ahead AHEAD, int ROWS>
KERNELS_INLINE void add_quad(__m512i (&sums)[ROWS][VECTORS], const uint8_t* weights,
                             int64_t tile_bytes, const int8_t* codes, int64_t stride) {
    __m512i columns[VECTORS];
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; v++) {
        columns[v] = _mm512_loadu_si512(weights + v * 4 * LANES);
        prefetch<AHEAD>(weights + v * 4 * LANES, tile_bytes);
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
        const __m512i quad = broadcast(codes + r * stride);
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) sums[r][v] = dot4(sums[r][v], columns[v], quad);
    }
}

template <Ahead AHEAD, int ROWS>
__attribute__((noinline)) void int8_tile(const Linear& layer, const Input& input, int64_t row,
                                         int64_t tile, const Output& output) {
    const int64_t quads = (layer.ins + 3) / 4, stride = code_width(layer.ins);
    const int64_t groups = group_count(layer.ins, layer.group);
    const int64_t tile_bytes = quads * 4 * TILE_OUTS;
    const int8_t* codes = input.codes + row * stride;
    const uint8_t* weights = static_cast<const uint8_t*>(layer.weights) + tile * tile_bytes;
    __m512 sums[ROWS][VECTORS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) sums[r][v] = _mm512_setzero_ps();
    for (int64_t g = 0, quad = 0; g < groups; g++) {
        __m512i whole[ROWS][VECTORS];
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
            for (int v = 0; v < VECTORS; v++)
                whole[r][v] = _mm512_set1_epi32(input.offsets[(row + r) * groups + g]);
        const int64_t end = std::min(quads, quad + layer.group / 4);
        for (; quad < end; quad++, weights += 4 * TILE_OUTS)
            add_quad<AHEAD>(whole, weights, tile_bytes, codes + 4 * quad, stride);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++) {
            const __m512 scale = _mm512_set1_ps(input.scales[(row + r) * groups + g]);
#pragma GCC unroll 3
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r][v]), scale, sums[r][v]);
        }
    }
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; v++) {
        const int64_t out = tile * TILE_OUTS + v * LANES;
        const __m512 scale = load(layer.scales + out, first(layer.outs - out));
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++) sums[r][v] = _mm512_mul_ps(sums[r][v], scale);
    }
    finish(sums, layer, row, tile, output);
}

// For 1 to 4 rows.
template <Ahead AHEAD>
constexpr ComputeTile INT8_TILES[INT8_ROWS] = {
    int8_tile<AHEAD, 1>, int8_tile<AHEAD, 2>, int8_tile<AHEAD, 3>, int8_tile<AHEAD, 4>,
};

// Quantises and lays out (outs, ins) weights, and writes their `scales` (outs,). To be called by
// every thread of a region, like `linear`.
inline void pack_int8(const bf16* weights, void* to, float* scales, int64_t outs, int64_t ins) {
    const int64_t quads = (ins + 3) / 4;
#pragma omp for schedule(static) nowait
    for (int64_t tile = 0; tile < (outs + TILE_OUTS - 1) / TILE_OUTS; tile++) {
        uint8_t* packed = static_cast<uint8_t*>(to) + tile * quads * 4 * TILE_OUTS;
        memset(packed, 128, quads * 4 * TILE_OUTS);
        for (int64_t j = 0; j < std::min<int64_t>(TILE_OUTS, outs - tile * TILE_OUTS); j++) {
            const bf16* row = weights + (tile * TILE_OUTS + j) * ins;
            const float most = largest(row, ins);
            scales[tile * TILE_OUTS + j] = scale_of(most);
            for (int64_t k = 0; k < ins; k += LANES) {
                int8_t codes[LANES];
                _mm_storeu_si128(
                    reinterpret_cast<__m128i*>(codes),
                    _mm512_cvtsepi32_epi8(codes_of(row + k, first(ins - k), most)));
                for (int64_t i = 0; i < std::min<int64_t>(LANES, ins - k); i++)
                    packed[((k + i) / 4 * TILE_OUTS + j) * 4 + i % 4] =
                        static_cast<uint8_t>(codes[i] + 128);
            }
        }
    }
}

}  // namespace kernels

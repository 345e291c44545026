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

constexpr int INT8_ROWS = 4;  // of a tile: 12 sums of each type; 8 rows do not fit the registers
constexpr int INT8_FEW = 4;   // rows, as `BF16_FEW`
constexpr int INT8_MOST = 127;
constexpr float INT8_LEAST = 1e-30f;  // no scale is made for less: 127 / 1e-40 is infinite

// Bytes of a row's codes.
constexpr int64_t code_width(int64_t ins) { return (ins + LANES - 1) / LANES * LANES; }
constexpr int64_t group_count(int64_t ins, int64_t group) { return (ins + group - 1) / group; }

// The largest magnitude of `count` numbers; a NaN or infinity if there is one.
KERNELS_INLINE float largest(const bf16* numbers, int64_t count) {
    __m512i most = _mm512_setzero_si512();  // as bits, which are in the numbers' order, NaN last
    for (int64_t i = 0; i < count; i += 2 * LANES) {
        const __mmask32 lanes = _bzhi_u32(~0u, std::min<int64_t>(count - i, 2 * LANES));
        const __m512i bits = _mm512_maskz_loadu_epi16(lanes, numbers + i);
        most = _mm512_max_epu16(most, _mm512_and_si512(bits, _mm512_set1_epi16(0x7fff)));
    }
    const __m512i low = _mm512_and_si512(most, _mm512_set1_epi32(0xffff));
    const __m512i high = _mm512_srli_epi32(most, 16);
    return widen(static_cast<bf16>(_mm512_reduce_max_epi32(_mm512_max_epi32(low, high))));
}

// How numbers become codes of -127 to 127: number * factor, rounded, is the code, and code * scale
// the number again.
struct Scale {
    float factor, scale;

    // For numbers up to `most`. If that is not finite, neither is the scale, nor what is computed
    // with it, whatever the codes are.
    explicit Scale(float most) {
        const float bounded = most < INT8_LEAST ? INT8_LEAST : most;  // NaN stays
        factor = INT8_MOST / bounded;
        scale = bounded / INT8_MOST;
    }

    // Of up to 16 numbers; the rest of them is 0.
    __m512i codes(const bf16* numbers, int64_t count) const {
        const __m512 scaled = _mm512_mul_ps(load(numbers, first(count)), _mm512_set1_ps(factor));
        return _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
};

KERNELS_INLINE void store_codes(int8_t* to, __m512i codes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtsepi32_epi8(codes));
}

KERNELS_INLINE void quantise_group(const bf16* numbers, int64_t count, int8_t* codes, float* scale,
                                   int32_t* offset) {
    const Scale found(largest(numbers, count));
    __m512i sums = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += LANES) {
        const __m512i some = found.codes(numbers + i, count - i);
        sums = _mm512_add_epi32(sums, some);
        store_codes(codes + i, some);
    }
    *scale = found.scale;
    *offset = -_mm512_reduce_add_epi32(_mm512_slli_epi32(sums, 7));
}

// Quantises one row: `codes` (code_width(width),), `scales` and `offsets` (groups,).
inline void quantise_row(const bf16* row, int64_t width, int group, int8_t* codes, float* scales,
                         int32_t* offsets) {
    constexpr int USUAL = 64;  // written out below, it needs no masks
    for (int64_t from = 0, g = 0; from < width; from += group, g++) {
        const int64_t count = std::min<int64_t>(group, width - from);
        if (count == USUAL)
            quantise_group(row + from, USUAL, codes + from, scales + g, offsets + g);
        else
            quantise_group(row + from, count, codes + from, scales + g, offsets + g);
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
            const Scale scale(largest(row, ins));
            scales[tile * TILE_OUTS + j] = scale.scale;
            for (int64_t k = 0; k < ins; k += LANES) {
                int8_t codes[LANES];
                store_codes(codes, scale.codes(row + k, ins - k));
                for (int64_t i = 0; i < std::min<int64_t>(LANES, ins - k); i++)
                    packed[((k + i) / 4 * TILE_OUTS + j) * 4 + i % 4] =
                        static_cast<uint8_t>(codes[i] + 128);
            }
        }
    }
}

}  // namespace kernels

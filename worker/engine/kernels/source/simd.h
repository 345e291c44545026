// Vectors of 16 numbers, bfloat16 and float32, and memory in huge pages: what all kernels share.
//
// Needs AVX512 F, BW, DQ, VL and BF16. Each function fixes its own order of operations, so that a
// result's bits depend on the numbers alone, never on how many of them there are. What is left of
// a vector at the end of a row is read and written through a mask by the same instructions.

#pragma once

#include <immintrin.h>
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#define KERNELS_INLINE static inline __attribute__((always_inline))

namespace kernels {

using bf16 = uint16_t;  // the upper half of a float32

constexpr int LANES = 16;  // numbers in a vector

// The first `count` lanes: none if it is negative, all if it is more than there are.
KERNELS_INLINE __mmask16 first(int64_t count) {
    return static_cast<__mmask16>((1u << std::clamp<int64_t>(count, 0, LANES)) - 1);
}

KERNELS_INLINE __m512 widened(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// To the nearest, ties to even. The instruction takes subnormal numbers for zeros; NaN stays NaN.
KERNELS_INLINE __m256i rounded(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }

KERNELS_INLINE __m512 load(const bf16* from) {
    return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
KERNELS_INLINE __m512 load(const float* from) { return _mm512_loadu_ps(from); }

// The other lanes are zero, and their memory is not touched.
KERNELS_INLINE __m512 load(const bf16* from, __mmask16 lanes) {
    return widened(_mm256_maskz_loadu_epi16(lanes, from));
}
KERNELS_INLINE __m512 load(const float* from, __mmask16 lanes) {
    return _mm512_maskz_loadu_ps(lanes, from);
}

KERNELS_INLINE void store(bf16* to, __m512 values) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded(values));
}
KERNELS_INLINE void store(float* to, __m512 values) { _mm512_storeu_ps(to, values); }
KERNELS_INLINE void store(bf16* to, __m512 values, __mmask16 lanes) {
    _mm256_mask_storeu_epi16(to, lanes, rounded(values));
}
KERNELS_INLINE void store(float* to, __m512 values, __mmask16 lanes) {
    _mm512_mask_storeu_ps(to, lanes, values);
}

// Past the caches; `to` is at a multiple of 64 bytes. `_mm_sfence` must follow the last of these.
KERNELS_INLINE void stream(float* to, __m512 values) { _mm512_stream_ps(to, values); }

// In the place of a mask: all lanes.
struct Whole {};

KERNELS_INLINE __m512 load(const bf16* from, Whole) { return load(from); }
KERNELS_INLINE __m512 load(const float* from, Whole) { return load(from); }
KERNELS_INLINE void store(bf16* to, __m512 values, Whole) { store(to, values); }

// Calls `each(at, lanes)` for the vectors of a row: whole ones, because masks cost time, then what
// is left of one.
template <typename Each>
KERNELS_INLINE void for_vectors(int64_t width, const Each& each) {
    int64_t at = 0;
    for (; at + LANES <= width; at += LANES) each(at, Whole{});
    if (at < width) each(at, first(width - at));
}

KERNELS_INLINE float widen(bf16 half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// As `rounded` does, by the same instruction.
KERNELS_INLINE bf16 narrow(float value) {
    const __m128i halves = (__m128i)_mm_cvtneps_pbh(_mm_set_ss(value));
    return static_cast<bf16>(_mm_extract_epi16(halves, 0));
}

// Four bytes (two bf16 or four int8) in all lanes.
KERNELS_INLINE __m512i broadcast(const void* four_bytes) {
    int32_t bits;
    memcpy(&bits, four_bytes, sizeof bits);
    return _mm512_set1_epi32(bits);
}

// sums + the product of each lane's two bf16 numbers, in the instruction's own order.
KERNELS_INLINE __m512 dot2(__m512 sums, __m512i pairs, __m512i others) {
    return _mm512_dpbf16_ps(sums, (__m512bh)pairs, (__m512bh)others);
}

// 2^x to 2e-7 of it, by a polynomial of degree 5 over x - floor(x). Exactly 1 at 0, exactly 0
// below -150 and at -inf, inf from 128 on; NaN stays NaN.
KERNELS_INLINE __m512 exp2(__m512 x) {
    // Both instructions take care of infinities: the first makes 0 of them, the second 0 or inf.
    const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 power = _mm512_set1_ps(1.8671302e-3f);
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(9.0170298e-3f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(5.5799913e-2f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(2.4016444e-1f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(6.9315130e-1f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(power, x);  // times 2^floor(x)
}

// The sum of the lanes: 8 + 8, then 4 + 4, 2 + 2, 1 + 1.
KERNELS_INLINE float sum(__m512 values) {
    const __m256 eight =
        _mm256_add_ps(_mm512_castps512_ps256(values), _mm512_extractf32x8_ps(values, 1));
    const __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

KERNELS_INLINE float maximum(__m512 values) { return _mm512_reduce_max_ps(values); }

// Zeroed memory in huge pages where the system has them; no page is taken before it is used.
class Memory {
  public:
    static constexpr size_t PAGE = size_t{2} << 20;  // bytes, and the alignment

    Memory() = default;
    explicit Memory(size_t bytes) {
        if (bytes == 0) return;
        reserved_ = (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
        base_ = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                     0);
        if (base_ == MAP_FAILED) {
            base_ = nullptr;
            throw std::bad_alloc();
        }
        const uintptr_t start = (reinterpret_cast<uintptr_t>(base_) + PAGE - 1) / PAGE * PAGE;
        data_ = reinterpret_cast<void*>(start);
        size_ = reserved_ - PAGE;
        madvise(data_, size_, MADV_HUGEPAGE);  // small pages do as well, only slower
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Memory() {
        if (base_) munmap(base_, reserved_);
    }

    void* data() const { return data_; }
    size_t size() const { return size_; }  // bytes, at least as many as asked for

    // At least `bytes`; what was in it is lost when it grows.
    void* grown(size_t bytes) {
        if (bytes > size_) *this = Memory(bytes);
        return data_;
    }

  private:
    void swap(Memory& other) noexcept {
        std::swap(base_, other.base_);
        std::swap(data_, other.data_);
        std::swap(reserved_, other.reserved_);
        std::swap(size_, other.size_);
    }

    void* base_ = nullptr;
    void* data_ = nullptr;
    size_t reserved_ = 0;
    size_t size_ = 0;
};

}  // namespace kernels

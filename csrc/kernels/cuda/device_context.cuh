#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cassert>
#include <cstdint>

#include "../element.h"
#include "../platform.h"

#if defined(NDEBUG)
// The function that assert() calls, on the device too. <cassert> leaves it out of release builds;
// these checks are of the caller's data and stay.
extern "C" __host__ __device__ void __assert_fail(const char* assertion, const char* file,
                                                  unsigned int line, const char* function) noexcept
    __attribute__((__noreturn__));
#endif

namespace paco::cuda {

// The machine as a kernel body sees it, here a GPU of sm_80 or later. For older ones it compiles,
// but to nothing useful: paco_loss_supported() turns them down. The host's twin is
// tests/cpp/kernels/cuda/host_context.h; a function added here is added there. The number of
// threads of a block is known to the compiler, which unrolls the loops over it.
template <int kThreads>
class DeviceContext {
 public:
  // Position in the launch. Blocks are one-dimensional.
  PACO_DEVICE int thread() const { return static_cast<int>(threadIdx.x); }
  PACO_DEVICE int num_threads() const { return kThreads; }
  PACO_DEVICE int lane() const { return thread() % 32; }
  PACO_DEVICE int warp() const { return thread() / 32; }
  PACO_DEVICE int64_t block_x() const { return blockIdx.x; }
  PACO_DEVICE int64_t block_y() const { return blockIdx.y; }
  PACO_DEVICE int64_t num_blocks_x() const { return gridDim.x; }

  PACO_DEVICE char* shared_memory() const {
    extern __shared__ __align__(128) char memory[];
    return memory;
  }
  PACO_DEVICE void sync() const { __syncthreads(); }
  PACO_DEVICE void sync_warp() const { __syncwarp(); }

  // Copies 16 bytes from global into shared memory, both aligned, without waiting for them; zeros
  // where not `valid`, and then nothing is read.
  PACO_DEVICE void copy_async(void* shared, const void* global, bool valid) const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
#endif
  }
  PACO_DEVICE void commit_copies() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  // Waits for this thread's copies, but for those of the last `pending` commits.
  template <int pending>
  PACO_DEVICE void wait_copies() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
  }

  // Exchange between the lanes of a warp.
  template <typename T>
  PACO_DEVICE T shuffle_xor(T value, int mask) const {
    return __shfl_xor_sync(kAllLanes, value, mask);
  }
  template <typename T>
  PACO_DEVICE T shuffle(T value, int source_lane) const {
    return __shfl_sync(kAllLanes, value, source_lane);
  }
  PACO_DEVICE uint32_t ballot(bool vote) const { return __ballot_sync(kAllLanes, vote); }

  // Four 8x8 matrices of 16-bit numbers (8x4 of 32-bit ones), row r of matrix m at the address that
  // lane 8 m + r gives. The lane gets the 32 bits at row lane / 4, place lane % 4, of each.
  PACO_DEVICE void load_matrices(const void* row, uint32_t (&matrices)[4]) const {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
  }
  // The same of the transposed matrices; 16-bit numbers only.
  PACO_DEVICE void load_matrices_transposed(const void* row, uint32_t (&matrices)[4]) const {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
  }
  // C [16, 8] += A [16, k] B [k, 8]; k is 16 for 16-bit numbers, 8 for float (rounded to tf32). The
  // fragments are those of PTX's mma.m16n8k16 and m16n8k8: c0, c1 of row lane / 4, c2, c3 of the
  // row 8 below, at columns 2 (lane % 4) and the next.
  PACO_DEVICE void multiply_add(BFloat16, float& c0, float& c1, float& c2, float& c3,
                                const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }
  PACO_DEVICE void multiply_add(Float16, float& c0, float& c1, float& c2, float& c3,
                                const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }
  PACO_DEVICE void multiply_add(float, float& c0, float& c1, float& c2, float& c3,
                                const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }

  PACO_DEVICE float to_float(float value) const { return value; }
  PACO_DEVICE float to_float(BFloat16 value) const {
    return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
  }
  PACO_DEVICE float to_float(Float16 value) const {
    return __half2float(__ushort_as_half(value.bits));
  }

  PACO_DEVICE void assign(float& to, float value) const { to = value; }
  PACO_DEVICE void assign(BFloat16& to, float value) const {
    to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
  PACO_DEVICE void assign(Float16& to, float value) const {
    to.bits = __half_as_ushort(__float2half_rn(value));
  }

  // Two numbers in one register, `low` first in memory.
  PACO_DEVICE uint32_t pack(BFloat16, float low, float high) const {
    uint32_t packed = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#endif
    return packed;
  }
  PACO_DEVICE uint32_t pack(Float16, float low, float high) const {
    uint32_t packed = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#endif
    return packed;
  }
  // The nearest number of tf32, which has the range of float and a mantissa of 10 bits.
  PACO_DEVICE uint32_t round_to_tf32(float value) const {
    uint32_t rounded = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
#endif
    return rounded;
  }
  // a * b, rounded; never a part of a fused multiply-add.
  PACO_DEVICE float multiply(float a, float b) const { return __fmul_rn(a, b); }
  // 2^x, accurate to two units in the last place; 0 below the normal range.
  PACO_DEVICE float exp2(float x) const {
    float result = 0;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
  }
  PACO_DEVICE static float sqrt(float x) { return sqrtf(x); }
  PACO_DEVICE static double sqrt(double x) { return ::sqrt(x); }
  PACO_DEVICE static float log1p(float x) { return log1pf(x); }
  PACO_DEVICE static double log1p(double x) { return ::log1p(x); }
  PACO_DEVICE uint32_t float_bits(float value) const { return __float_as_uint(value); }
  PACO_DEVICE float bits_to_float(uint32_t bits) const { return __uint_as_float(bits); }

  PACO_DEVICE int first_bit(uint32_t bits) const { return __ffs(static_cast<int>(bits)) - 1; }
  PACO_DEVICE int count_bits(uint32_t bits) const { return __popc(bits); }

  // A violation ends the kernel; the next call that synchronises reports it.
  PACO_DEVICE void check(bool holds, const char* message) const {
    if (!holds) {
      __assert_fail(message, __FILE__, __LINE__, "paco");
    }
  }

 private:
  static constexpr uint32_t kAllLanes = 0xffffffffu;

  PACO_DEVICE static uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
  }
};

}  // namespace paco::cuda

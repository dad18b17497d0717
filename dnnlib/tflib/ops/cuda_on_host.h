// Enough of CUDA for the host compiler to make the .cu files run as loops, one thread after the
// other: tests of launches, packs and strides on machines without a GPU. Needs GCC 12 or clang 15.
#pragma once

#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __grid_constant__

struct __half {
  _Float16 value;
  __half() = default;
  explicit __half(float x) : value(static_cast<_Float16>(x)) {}
  explicit operator float() const { return static_cast<float>(value); }
};

struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float x) {
    uint32_t u;
    std::memcpy(&u, &x, sizeof(u));
    // To the nearest, ties to even; a NaN stays one.
    bits = x != x ? 0x7fc0 : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  explicit operator float() const {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &u, sizeof(x));
    return x;
  }
};

enum cudaError_t { cudaSuccess, cudaErrorMisalignedAddress };

namespace gan_ops {

struct HostIndex {
  unsigned x;
};
inline HostIndex threadIdx, blockIdx, blockDim, gridDim;
inline cudaError_t host_error = cudaSuccess;
// The blocks that run: a few of a launch whose tensors no memory holds are enough to test it.
inline unsigned first_block = 0, end_block = ~0u;

// Thrown before an access that would stop a GPU's kernel.
struct Misaligned {};

inline void check_aligned(const void* pointer, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0) throw Misaligned();
}

template <typename Thread>
void run_on_host(unsigned blocks, unsigned threads, const Thread& thread) {
  gridDim.x = blocks, blockDim.x = threads;
  try {
    for (blockIdx.x = first_block; blockIdx.x < blocks && blockIdx.x < end_block; ++blockIdx.x) {
      for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) thread();
    }
  } catch (const Misaligned&) {
    host_error = cudaErrorMisalignedAddress;
  }
}

}  // namespace gan_ops

#define GAN_CHECK_ALIGNED(pointer, bytes) check_aligned(pointer, bytes)

inline cudaError_t cudaGetLastError() {
  const cudaError_t error = gan_ops::host_error;
  gan_ops::host_error = cudaSuccess;
  return error;
}
inline const char* cudaGetErrorString(cudaError_t) { return "misaligned address"; }
inline void cudaDriverGetVersion(int* version) { *version = 0; }
inline void cudaRuntimeGetVersion(int* version) { *version = 0; }

// Runs only the blocks [first, end) of the launches to come.
extern "C" __attribute__((used)) inline void gan_host_blocks(unsigned first, unsigned end) {
  gan_ops::first_block = first, gan_ops::end_block = end;
}

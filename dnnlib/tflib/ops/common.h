// What the kernels of all operations share: types, and packs of neighbouring channels.
//
// GAN_HD code is the arithmetic and the index maths. It stands once and is compiled twice, by the
// host compiler for the CPU and by nvcc for the GPU, so that tests on a CPU cover both. GAN_GPU marks
// what is the GPU's alone; with GAN_CUDA_ON_HOST the host compiler makes loops of that, too.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define GAN_GPU
#define GAN_HD __host__ __device__ __forceinline__
#elif defined(GAN_CUDA_ON_HOST)
#include "cuda_on_host.h"
#define GAN_GPU
#define GAN_HD inline
#else
#define GAN_HD inline __attribute__((always_inline))
#endif

// cuda_on_host.h looks whether an access is aligned; elsewhere nobody does.
#ifndef GAN_CHECK_ALIGNED
#define GAN_CHECK_ALIGNED(pointer, bytes)
#endif

// Iterations of the next loop are independent even where input and output are the same buffer.
#if defined(__clang__)
#define GAN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define GAN_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace gan_ops {

enum DataType { kFloat32, kFloat16, kBfloat16 };

// Offsets and sizes are 64-bit throughout: tensors of more than 2^31 elements are legal.
template <typename I>
GAN_HD I ceil_div(I a, I b) {  // b > 0; a of any sign
  return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

// V neighbouring channels in float, whatever the type of the tensor. On the CPU it is a vector type
// of the compiler, because GCC keeps an array in scalar registers.
#ifdef GAN_GPU
template <int V>
struct Pack {
  float v[V];
};

template <int V>
GAN_HD void multiply_add(Pack<V>& sum, float weight, const Pack<V>& x) {
#pragma unroll
  for (int i = 0; i < V; ++i) sum.v[i] += weight * x.v[i];
}

template <int V>
GAN_HD void clear(Pack<V>& x) {
#pragma unroll
  for (int i = 0; i < V; ++i) x.v[i] = 0;
}

// What one memory transaction of a thread carries.
template <typename T, int V>
struct alignas(sizeof(T) * V) Chunk {
  T v[V];
};
#else
template <int V>
struct Pack {
  typedef float Vector __attribute__((vector_size(V * sizeof(float)), aligned(sizeof(float))));
  Vector v;
};

template <int V>
GAN_HD void multiply_add(Pack<V>& sum, float weight, const Pack<V>& x) {
  sum.v += weight * x.v;
}

template <int V>
GAN_HD void clear(Pack<V>& x) {
  x.v = typename Pack<V>::Vector{};
}

template <typename T, int V>
struct Chunk {
  T v[V];
};
#endif

// Reads V elements; on the GPU `from` is aligned to all V of them (see `pack_width`).
template <int V, typename T>
GAN_HD Pack<V> load(const T* from) {
  GAN_CHECK_ALIGNED(from, (alignof(Chunk<T, V>)));
  Pack<V> x;
  const Chunk<T, V>& chunk = *reinterpret_cast<const Chunk<T, V>*>(from);
  for (int i = 0; i < V; ++i) x.v[i] = static_cast<float>(chunk.v[i]);
  return x;
}

template <int V, typename T>
GAN_HD void store(T* to, const Pack<V>& x) {
  GAN_CHECK_ALIGNED(to, (alignof(Chunk<T, V>)));
  Chunk<T, V> chunk;
  for (int i = 0; i < V; ++i) chunk.v[i] = static_cast<T>(x.v[i]);
  *reinterpret_cast<Chunk<T, V>*>(to) = chunk;
}

#ifndef GAN_GPU
template <int V>
GAN_HD Pack<V> load(const float* from) {
  Pack<V> x;
  std::memcpy(&x.v, from, sizeof(x.v));
  return x;
}

template <int V>
GAN_HD void store(float* to, const Pack<V>& x) {
  std::memcpy(to, &x.v, sizeof(x.v));
}
#else
// Channels that a GPU thread takes at once: 16 bytes of them where the number of channels and the
// buffers' alignment allow, else one.
template <typename T>
int pack_width(int64_t channels, std::initializer_list<const void*> buffers) {
  const int wide = 16 / sizeof(T);
  uintptr_t all = 0;
  for (const void* buffer : buffers) all |= reinterpret_cast<uintptr_t>(buffer);
  return channels % wide == 0 && all % 16 == 0 ? wide : 1;
}

constexpr int kThreads = 256;

// Blocks for `items` threads; kernels stride over what does not fit.
inline unsigned num_blocks(int64_t items) {
  const int64_t blocks = ceil_div<int64_t>(items, kThreads);
  return static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
}

__device__ inline int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int64_t num_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// Runs `kernel(arguments...)` on `items` threads: nullptr, or what went wrong.
template <typename... P, typename... A>
const char* launch(void (*kernel)(P...), int64_t items, void* stream, const A&... arguments) {
  const unsigned blocks = num_blocks(items);
#ifdef __CUDACC__
  kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
#else
  run_on_host(blocks, kThreads, [&] { kernel(arguments...); });
#endif
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
#endif

}  // namespace gan_ops

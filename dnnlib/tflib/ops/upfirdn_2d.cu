// The CUDA kernels of upfirdn_2d.h. A 4 KB filter as an argument needs CUDA 12.1 or newer.
#include "upfirdn_2d.h"

namespace gan_ops {
namespace {

template <int V, typename T>
__global__ void pixel_kernel(const __grid_constant__ Upfirdn u, const __grid_constant__ Filter f,
                             const T* x, T* y, int64_t items) {
  const int64_t blocks = u.channels / V;
  for (int64_t i = thread_index(); i < items; i += num_threads()) {
    const Position at = position(i, u.out_h, u.out_w, blocks);
    filter_pixel<V>(u, f, x, y, at, at.block * V);
  }
}

template <int V, int UP, int DOWN, typename T>
__global__ void strip_kernel(const __grid_constant__ Upfirdn u, const __grid_constant__ Taps4 f,
                             const T* x, T* y, int64_t items) {
  const int64_t blocks = u.channels / V, strips = ceil_div<int64_t>(u.out_h, kStrip);
  for (int64_t i = thread_index(); i < items; i += num_threads()) {
    const Position at = position(i, strips, u.out_w, blocks);
    filter_strip<V, UP, DOWN>(u, f, x, y, at, at.block * V);
  }
}

template <int V, typename T>
const char* launch_path(FastPath path, const T* x, T* y, const Upfirdn& u, const Filter& filter,
                        const Taps4& taps, void* stream) {
  const int64_t columns = u.n * u.out_w * (u.channels / V);
  const int64_t pixels = columns * u.out_h;
  const int64_t strips = columns * ceil_div<int64_t>(u.out_h, kStrip);
  if (path == kNone) return launch(pixel_kernel<V, T>, pixels, stream, u, filter, x, y, pixels);
  const auto kernel = path == kSame  ? strip_kernel<V, 1, 1, T>
                      : path == kUp2 ? strip_kernel<V, 2, 1, T>
                                     : strip_kernel<V, 1, 2, T>;
  return launch(kernel, strips, stream, u, taps, x, y, strips);
}

template <typename T>
const char* launch_type(FastPath path, const void* x, void* y, const Upfirdn& u,
                        const Filter& filter, const Taps4& taps, void* stream) {
  constexpr int kWide = 16 / sizeof(T);
  const auto* tx = static_cast<const T*>(x);
  auto* ty = static_cast<T*>(y);
  if (pack_width<T>(u.channels, {x, y}) == kWide) {
    return launch_path<kWide>(path, tx, ty, u, filter, taps, stream);
  }
  return launch_path<1>(path, tx, ty, u, filter, taps, stream);
}

}  // namespace
}  // namespace gan_ops

const char* gan_upfirdn_cuda(gan_ops::DataType type, gan_ops::FastPath path, const void* x, void* y,
                             const gan_ops::Upfirdn& u, const gan_ops::Filter& filter,
                             const gan_ops::Taps4& taps, void* stream) {
  using namespace gan_ops;
  if (type == kFloat16) return launch_type<__half>(path, x, y, u, filter, taps, stream);
  if (type == kBfloat16) return launch_type<__nv_bfloat16>(path, x, y, u, filter, taps, stream);
  return launch_type<float>(path, x, y, u, filter, taps, stream);
}

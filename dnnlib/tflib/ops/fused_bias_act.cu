// The CUDA kernel of fused_bias_act.h.
#include "fused_bias_act.h"

namespace gan_ops {
namespace {

template <typename T, int V>
__global__ void bias_act_kernel(const T* g, const T* x, const T* b, T* y, BiasAct call) {
  const int64_t step = num_threads() * V;
  int64_t index = thread_index() * V;
  // A thread's channel advances by the same amount each time: one division, not one per element.
  int64_t channel = channel_of(index, call.channels);
  const int64_t channel_step = channel_of(step, call.channels);
  for (; index < call.size; index += step) {
    Pack<V> value = load<V>(x + index), upstream{};
    if (b) multiply_add(value, 1.0f, load<V>(b + channel));
    if (g) upstream = load<V>(g + index);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      value.v[i] = bias_act(call.act, call.order, upstream.v[i], value.v[i], call);
    }
    store(y + index, value);
    channel += channel_step;
    if (channel >= call.channels) channel -= call.channels;
  }
}

template <typename T>
const char* launch_type(const void* g, const void* x, const void* b, void* y, const BiasAct& call,
                        void* stream) {
  const auto* tg = static_cast<const T*>(g);
  const auto* tx = static_cast<const T*>(x);
  const auto* tb = static_cast<const T*>(b);
  auto* ty = static_cast<T*>(y);
  constexpr int kWide = 16 / sizeof(T);
  if (pack_width<T>(call.channels, {g, x, b, y}) == kWide) {
    return launch(bias_act_kernel<T, kWide>, call.size / kWide, stream, tg, tx, tb, ty, call);
  }
  return launch(bias_act_kernel<T, 1>, call.size, stream, tg, tx, tb, ty, call);
}

}  // namespace
}  // namespace gan_ops

const char* gan_bias_act_cuda(gan_ops::DataType type, const void* g, const void* x, const void* b,
                              void* y, const gan_ops::BiasAct& call, void* stream) {
  using namespace gan_ops;
  if (type == kFloat16) return launch_type<__half>(g, x, b, y, call, stream);
  if (type == kBfloat16) return launch_type<__nv_bfloat16>(g, x, b, y, call, stream);
  return launch_type<float>(g, x, b, y, call, stream);
}

// Why CUDA kernels of this library cannot run on this machine, or null. Asks for versions only:
// creating a context would take memory of a GPU that the process may not be meant to use.
extern "C" const char* gan_cuda_problem() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no CUDA driver";
  if (driver / 1000 < runtime / 1000) return "the CUDA driver is older than nvcc's CUDA version";
  return nullptr;
}

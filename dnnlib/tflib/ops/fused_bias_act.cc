// The operations GanBiasAct and GanBiasActGrad with their CPU kernel; arithmetic: see the header.
#include "fused_bias_act.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "kernel.h"

namespace gan_ops {
namespace {

// Computes [begin, end) of the flattened tensors. `bias` repeats the C biases up to `period`
// elements, so that the inner loop is long, whatever C is, and knows nothing of channels.
template <typename T, int ACT, int ORDER>
void bias_act_cpu(const T* g, const T* x, const float* bias, int64_t period, T* y, int64_t begin,
                  int64_t end, const BiasAct& shared) {
  const BiasAct call = shared;  // a copy, which no store can alias
  int64_t offset = channel_of(begin, period);
  for (int64_t i = begin; i < end;) {
    const int64_t count = std::min(period - offset, end - i);
    const T* gi = g + i;
    const T* xi = x + i;
    const float* bi = bias + offset;
    T* yi = y + i;
    GAN_INDEPENDENT
    for (int64_t j = 0; j < count; ++j) {
      const float upstream = ORDER == 0 ? 0.0f : static_cast<float>(gi[j]);
      const float value = static_cast<float>(xi[j]) + bi[j];
      yi[j] = static_cast<T>(bias_act(ACT, ORDER, upstream, value, call));
    }
    i += count;
    offset = 0;
  }
}

template <typename T>
using CpuKernel = void (*)(const T*, const T*, const float*, int64_t, T*, int64_t, int64_t,
                           const BiasAct&);

// One loop per activation and order: the choice is made outside, so that the compiler vectorises.
template <typename T, int... I>
CpuKernel<T> cpu_kernel(int act, int order, std::integer_sequence<int, I...>) {
  static constexpr CpuKernel<T> kernels[] = {
      bias_act_cpu<T, I / kNumOrders, I % kNumOrders>...};
  return kernels[act * kNumOrders + order];
}

template <typename T>
void run_cpu(OpKernelContext* context, const T* g, const T* x, const T* b, T* y,
             const BiasAct& call) {
  const auto kernel = cpu_kernel<T>(
      call.act, call.order, std::make_integer_sequence<int, kNumActivations * kNumOrders>());
  const int64_t copies = ceil_div<int64_t>(512, call.channels);
  std::vector<float> bias(call.channels * copies, 0.0f);
  if (b) {
    for (size_t i = 0; i < bias.size(); ++i) {
      bias[i] = static_cast<float>(b[channel_of(i, call.channels)]);
    }
  }
  const int64_t cost = call.act <= kLrelu ? 2 : 40;
  parallel_for(context, call.size, cost, [&](int64_t begin, int64_t end) {
    kernel(g, x, bias.data(), bias.size(), y, begin, end, call);
  });
}

// Inputs x, b of GanBiasAct and g, x, b of GanBiasActGrad; b of shape [0] stands for no bias.
template <typename T, bool GPU>
class BiasActOp : public tensorflow::OpKernel {
 public:
  explicit BiasActOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string act;
    OP_REQUIRES_OK(context, context->GetAttr("act", &act));
    const auto* found = std::find(kActivations, kActivations + kNumActivations, act);
    OP_REQUIRES(context, found != kActivations + kNumActivations,
                InvalidArgument("act='", act, "' is no activation"));
    call_.act = found - kActivations;
    call_.order = 0;
    if (context->num_inputs() == 3) {
      OP_REQUIRES_OK(context, context->GetAttr("order", &call_.order));
      OP_REQUIRES(context, call_.order < kNumOrders,
                  InvalidArgument("order=", call_.order, ": expected 1 or 2"));
    }
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &call_.alpha));
    OP_REQUIRES_OK(context, context->GetAttr("gain", &call_.gain));
    OP_REQUIRES_OK(context, context->GetAttr("clamp", &call_.clamp));
    if (call_.clamp < 0) call_.clamp = std::numeric_limits<float>::infinity();
  }

  void Compute(OpKernelContext* context) override {
    const int first = context->num_inputs() - 2;  // 0, or 1 behind g
    const Tensor& x = context->input(first);
    const Tensor& b = context->input(first + 1);
    OP_REQUIRES(context, x.dims() >= 1,
                InvalidArgument("x must have at least one dimension, its channels"));
    const int64_t channels = x.dim_size(x.dims() - 1);
    const bool has_bias = b.NumElements() > 0 || b.dims() != 1;
    OP_REQUIRES(context, !has_bias || (b.dims() == 1 && b.dim_size(0) == channels),
                InvalidArgument("bias ", b.shape().DebugString(),
                                " does not fit the last dimension of ", x.shape().DebugString()));
    OP_REQUIRES(context, first == 0 || context->input(0).shape() == x.shape(),
                InvalidArgument("gradient ", context->input(0).shape().DebugString(),
                                " does not have the shape ", x.shape().DebugString()));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    if (x.NumElements() == 0) return;
    BiasAct call = call_;
    call.size = x.NumElements();
    call.channels = channels;
    const T* pg = first == 0 ? nullptr : context->input(0).template flat<T>().data();
    const T* px = x.flat<T>().data();
    const T* pb = has_bias ? b.flat<T>().data() : nullptr;
    T* py = y->template flat<T>().data();
    if constexpr (GPU) {
      const char* error =
          gan_bias_act_cuda(kDataType<T>, pg, px, pb, py, call, cuda_stream(context));
      OP_REQUIRES(context, error == nullptr, Internal("GanBiasAct: CUDA: ", error));
    } else {
      run_cpu<T>(context, pg, px, pb, py, call);
    }
  }

 private:
  BiasAct call_;
};

}  // namespace

REGISTER_OP("GanBiasAct")
    .Input("x: T")
    .Input("b: T")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("act: string")
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")  // below 0: none
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);

REGISTER_OP("GanBiasActGrad")
    .Input("g: T")
    .Input("x: T")
    .Input("b: T")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("act: string")
    .Attr("order: int >= 1")  // of the derivative: 1 or 2
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);

#define GAN_REGISTER_ONE(OP, T, DEVICE, GPU)                                     \
  REGISTER_KERNEL_BUILDER(Name(OP).Device(tensorflow::DEVICE).TypeConstraint<T>("T"), \
                          BiasActOp<T, GPU>);
#define GAN_REGISTER(T, DEVICE, GPU)             \
  GAN_REGISTER_ONE("GanBiasAct", T, DEVICE, GPU) \
  GAN_REGISTER_ONE("GanBiasActGrad", T, DEVICE, GPU)

GAN_REGISTER_ALL(GAN_REGISTER)

}  // namespace gan_ops

// For the tests: the channel of an element of a tensor that would not fit into memory.
extern "C" int64_t gan_channel_of(int64_t index, int64_t channels) {
  return gan_ops::channel_of(index, channels);
}

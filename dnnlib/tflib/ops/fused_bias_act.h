// Bias, activation, gain and clamp: the arithmetic of one element, for CPU and GPU.
#pragma once

#include <cmath>

#include "common.h"

namespace gan_ops {

enum Activation { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };

// In the order of the enumeration; attribute `act` of the operations.
constexpr const char* kActivations[] = {"linear", "relu", "lrelu",    "tanh", "sigmoid",
                                        "elu",    "selu", "softplus", "swish"};
constexpr int kNumActivations = 9;
constexpr int kNumOrders = 3;  // the value and two derivatives

// One call: y = clip(act(x + b) * gain) for order 0, else g times its derivative of this order.
struct BiasAct {
  int64_t size;      // elements of x, g and y
  int64_t channels;  // the last dimension
  int act;
  int order;
  float alpha;
  float gain;
  float clamp;  // infinite: none
};

GAN_HD int64_t channel_of(int64_t index, int64_t channels) { return index % channels; }

// The derivative of an activation of order 0 (its value), 1 or 2. At a kink they are TensorFlow's.
GAN_HD float activation(int act, int order, float x, float alpha) {
  const float scale = 1.0507009873554805f, selu_alpha = 1.6732632423543772f;
  switch (act) {
    case kRelu:
      return order == 0 ? (x < 0 ? 0.0f : x) : order == 1 ? (x > 0 ? 1.0f : 0.0f) : 0.0f;
    case kLrelu:
      return order == 0 ? (x >= 0 ? x : x * alpha) : order == 1 ? (x >= 0 ? 1.0f : alpha) : 0.0f;
    case kTanh: {
      const float t = tanhf(x), slope = 1 - t * t;
      return order == 0 ? t : order == 1 ? slope : -2 * t * slope;
    }
    case kSigmoid: {
      const float s = 1 / (1 + expf(-x)), slope = s * (1 - s);
      return order == 0 ? s : order == 1 ? slope : slope * (1 - 2 * s);
    }
    case kElu:
      if (order == 0) return x < 0 ? expm1f(x) : x;
      return x < 0 ? expf(x) : order == 1 ? 1.0f : 0.0f;
    case kSelu:
      if (order == 0) return scale * (x < 0 ? selu_alpha * expm1f(x) : x);
      return scale * (x < 0 ? selu_alpha * expf(x) : order == 1 ? 1.0f : 0.0f);
    case kSoftplus: {
      if (order == 0) return (x > 0 ? x : 0.0f) + log1pf(expf(-fabsf(x)));
      const float s = 1 / (1 + expf(-x));
      return order == 1 ? s : s * (1 - s);
    }
    case kSwish: {
      const float s = 1 / (1 + expf(-x)), slope = s * (1 - s);
      return order == 0 ? x * s : order == 1 ? s + x * slope : slope * (2 + x * (1 - 2 * s));
    }
    default:
      return order == 0 ? x : order == 1 ? 1.0f : 0.0f;
  }
}

// One element; x includes the bias. Written so that a NaN in x stays one.
GAN_HD float bias_act(int act, int order, float g, float x, const BiasAct& call) {
  const float value = activation(act, 0, x, call.alpha) * call.gain;
  if (order == 0) {
    return value > call.clamp ? call.clamp : value < -call.clamp ? -call.clamp : value;
  }
  const float slope = activation(act, order, x, call.alpha) * call.gain;
  return fabsf(value) > call.clamp ? 0.0f : g * slope;
}

}  // namespace gan_ops

// Launches the CUDA kernel on `stream` (a cudaStream_t): nullptr, or what went wrong. `g` is null
// for order 0, `b` where there is no bias; `y` may be `g` or `x`.
extern "C" const char* gan_bias_act_cuda(gan_ops::DataType type, const void* g, const void* x,
                                         const void* b, void* y, const gan_ops::BiasAct& call,
                                         void* stream);

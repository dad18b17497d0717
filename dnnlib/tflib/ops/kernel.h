// What the operation classes share; included by the host compiler only.
#pragma once

#include "common.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/stream_executor.h"
#include "tensorflow/core/util/work_sharder.h"

namespace gan_ops {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::Internal;
using tensorflow::errors::InvalidArgument;

template <typename T>
constexpr DataType kDataType = kFloat32;
template <>
constexpr DataType kDataType<Eigen::half> = kFloat16;
template <>
constexpr DataType kDataType<Eigen::bfloat16> = kBfloat16;

// The stream that a GPU kernel has to be launched on.
inline void* cuda_stream(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

// Splits [0, total) among TensorFlow's threads; `cost` is the work of one item in CPU cycles.
template <typename Function>
void parallel_for(OpKernelContext* context, int64_t total, int64_t cost,
                  const Function& function) {
  const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers.num_threads, workers.workers, total, cost, function);
}

}  // namespace gan_ops

// Registers the kernels of an operation for every type and device: REGISTER(type, device, GPU?).
#define GAN_REGISTER_TYPES(REGISTER, DEVICE, GPU) \
  REGISTER(float, DEVICE, GPU)                    \
  REGISTER(Eigen::half, DEVICE, GPU)              \
  REGISTER(Eigen::bfloat16, DEVICE, GPU)
#ifdef GAN_CUDA
#define GAN_REGISTER_ALL(REGISTER)                \
  GAN_REGISTER_TYPES(REGISTER, DEVICE_CPU, false) \
  GAN_REGISTER_TYPES(REGISTER, DEVICE_GPU, true)
#else
#define GAN_REGISTER_ALL(REGISTER) GAN_REGISTER_TYPES(REGISTER, DEVICE_CPU, false)
#endif

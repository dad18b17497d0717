// The operation GanUpfirdn and its CPU kernel; index maths and sums are in the header.
#include "upfirdn_2d.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernel.h"

namespace gan_ops {
namespace {

// Runs `work(position, channel)` for the channels [first, last) in packs of V, on all threads.
template <int V, typename Work>
void for_packs(OpKernelContext* context, const Upfirdn& u, int64_t rows, int64_t first,
               int64_t last, int64_t cost, const Work& work) {
  const int64_t blocks = (last - first) / V;
  const int64_t items = u.n * rows * u.out_w * blocks;
  if (items == 0) return;
  parallel_for(context, items, cost, [&](int64_t begin, int64_t end) {
    Position at = position(begin, rows, u.out_w, blocks);
    for (int64_t i = begin; i < end; ++i, advance(at, rows, u.out_w, blocks)) {
      work(at, first + at.block * V);
    }
  });
}

template <int V, typename T>
void run_packs(OpKernelContext* context, FastPath path, const T* x, T* y, const Upfirdn& u,
               const Filter& filter, const Taps4& taps, int64_t first, int64_t last) {
  const int64_t strips = ceil_div<int64_t>(u.out_h, kStrip);
  constexpr int64_t kCost = 16 * kStrip;  // CPU cycles of a strip, about
  if (path == kSame) {
    for_packs<V>(context, u, strips, first, last, kCost, [&](const Position& at, int64_t c) {
      filter_strip<V, 1, 1>(u, taps, x, y, at, c);
    });
  } else if (path == kUp2) {
    for_packs<V>(context, u, strips, first, last, kCost, [&](const Position& at, int64_t c) {
      filter_strip<V, 2, 1>(u, taps, x, y, at, c);
    });
  } else if (path == kDown2) {
    for_packs<V>(context, u, strips, first, last, kCost, [&](const Position& at, int64_t c) {
      filter_strip<V, 1, 2>(u, taps, x, y, at, c);
    });
  } else {
    const int64_t cost = 20 + 2 * ceil_div(u.kh, u.upy) * ceil_div(u.kw, u.upx);
    for_packs<V>(context, u, u.out_h, first, last, cost, [&](const Position& at, int64_t c) {
      filter_pixel<V>(u, filter, x, y, at, c);
    });
  }
}

// Whether the 4x4 filter is column times row, which are then found.
bool separate(const Filter& filter, Taps4& taps) {
  int pivot = 0;
  for (int i = 0; i < 16; ++i) {
    if (std::abs(filter.k[i]) > std::abs(filter.k[pivot])) pivot = i;
  }
  const float largest = filter.k[pivot];
  for (int i = 0; i < 4; ++i) {
    taps.row[i] = filter.k[pivot / 4 * 4 + i];
    taps.column[i] = largest == 0 ? 0 : filter.k[4 * i + pivot % 4] / largest;
  }
  for (int i = 0; i < 16; ++i) {
    const float error = taps.column[i / 4] * taps.row[i % 4] - filter.k[i];
    if (!(std::abs(error) <= 1e-6f * std::abs(largest))) return false;
  }
  return true;
}

template <typename T, bool GPU>
class UpfirdnOp : public tensorflow::OpKernel {
 public:
  explicit UpfirdnOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<float> k;
    OP_REQUIRES_OK(context, context->GetAttr("k", &k));
    OP_REQUIRES_OK(context, context->GetAttr("kh", &u_.kh));
    OP_REQUIRES_OK(context, context->GetAttr("kw", &u_.kw));
    OP_REQUIRES_OK(context, context->GetAttr("upx", &u_.upx));
    OP_REQUIRES_OK(context, context->GetAttr("upy", &u_.upy));
    OP_REQUIRES_OK(context, context->GetAttr("downx", &u_.downx));
    OP_REQUIRES_OK(context, context->GetAttr("downy", &u_.downy));
    OP_REQUIRES_OK(context, context->GetAttr("padx0", &u_.padx0));
    OP_REQUIRES_OK(context, context->GetAttr("pady0", &u_.pady0));
    OP_REQUIRES(context, u_.kh <= kMaxTaps && u_.kw <= kMaxTaps,
                InvalidArgument("filter [", u_.kh, ",", u_.kw, "]: at most [32,32] is supported"));
    OP_REQUIRES(context, static_cast<int>(k.size()) == u_.kh * u_.kw,
                InvalidArgument("filter [", u_.kh, ",", u_.kw, "] has ", k.size(), " taps"));
    std::reverse_copy(k.begin(), k.end(), filter_.k);
    const int factors[4] = {u_.upx, u_.upy, u_.downx, u_.downy};
    const auto are = [&factors](int up, int down) {
      return factors[0] == up && factors[1] == up && factors[2] == down && factors[3] == down;
    };
    if (u_.kh == 4 && u_.kw == 4 && separate(filter_, taps_)) {
      path_ = are(1, 1) ? kSame : are(2, 1) ? kUp2 : are(1, 2) ? kDown2 : kNone;
    }
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& size = context->input(1);
    OP_REQUIRES(context, x.dims() == 4,
                InvalidArgument("images ", x.shape().DebugString(), ": expected [N,H,W,C]"));
    OP_REQUIRES(context, size.dims() == 1 && size.dim_size(0) == 2,
                InvalidArgument("size ", size.shape().DebugString(), ": expected two numbers"));
    Upfirdn u = u_;
    u.n = x.dim_size(0);
    u.in_h = x.dim_size(1);
    u.in_w = x.dim_size(2);
    u.channels = x.dim_size(3);
    u.out_h = size.vec<int32_t>()(0);
    u.out_w = size.vec<int32_t>()(1);
    OP_REQUIRES(context, u.out_h >= 1 && u.out_w >= 1,
                InvalidArgument("filter [", u.kh, ",", u.kw, "] is larger than the padded image ",
                                x.shape().DebugString()));
    Tensor* y = nullptr;
    const tensorflow::TensorShape shape({u.n, u.out_h, u.out_w, u.channels});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() == 0) return;
    const T* px = x.flat<T>().data();
    T* py = y->template flat<T>().data();
    if constexpr (GPU) {
      const char* error = gan_upfirdn_cuda(kDataType<T>, path_, px, py, u, filter_, taps_,
                                           cuda_stream(context));
      OP_REQUIRES(context, error == nullptr, Internal("GanUpfirdn: CUDA: ", error));
    } else {
      constexpr int kWide = 16;
      const int64_t wide = u.channels / kWide * kWide;
      run_packs<kWide>(context, path_, px, py, u, filter_, taps_, 0, wide);
      run_packs<1>(context, path_, px, py, u, filter_, taps_, wide, u.channels);
    }
  }

 private:
  Upfirdn u_;
  Filter filter_;
  Taps4 taps_;
  FastPath path_ = kNone;
};

}  // namespace

REGISTER_OP("GanUpfirdn")
    .Input("x: T")
    .Input("size: int32")  // H', W' of the result
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("k: list(float)")
    .Attr("kh: int >= 1")
    .Attr("kw: int >= 1")
    .Attr("upx: int >= 1")
    .Attr("upy: int >= 1")
    .Attr("downx: int >= 1")
    .Attr("downy: int >= 1")
    .Attr("padx0: int")
    .Attr("pady0: int")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      tensorflow::shape_inference::ShapeHandle x, size, y;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(1, &size));
      TF_RETURN_IF_ERROR(c->WithRank(size, 2, &size));
      y = c->MakeShape({c->Dim(x, 0), c->Dim(size, 0), c->Dim(size, 1), c->Dim(x, 3)});
      c->set_output(0, y);
      return absl::OkStatus();
    });

#define GAN_REGISTER(T, DEVICE, GPU)                                 \
  REGISTER_KERNEL_BUILDER(Name("GanUpfirdn")                         \
                              .Device(tensorflow::DEVICE)            \
                              .TypeConstraint<T>("T")                \
                              .HostMemory("size"),                   \
                          UpfirdnOp<T, GPU>);

GAN_REGISTER_ALL(GAN_REGISTER)

}  // namespace gan_ops

// For the tests: index maths of tensors that would not fit into memory.
extern "C" void gan_upfirdn_position(int64_t item, int64_t rows, int64_t columns, int64_t blocks,
                                     int64_t* result) {
  const gan_ops::Position at = gan_ops::position(item, rows, columns, blocks);
  result[0] = at.n, result[1] = at.row, result[2] = at.column, result[3] = at.block;
}

extern "C" int64_t gan_upfirdn_offset(int64_t height, int64_t width, int64_t channels, int64_t n,
                                      int64_t y, int64_t x, int64_t c) {
  return gan_ops::offset(height, width, channels, n, y, x, c);
}

extern "C" void gan_upfirdn_span(int64_t output, int64_t size, int up, int down, int64_t pad0,
                                 int taps, int64_t* result) {
  const gan_ops::Span found = gan_ops::span(output, size, up, down, pad0, taps);
  result[0] = found.input, result[1] = found.tap, result[2] = found.count;
}

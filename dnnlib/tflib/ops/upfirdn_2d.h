// Upsample, FIR filter, downsample: the index maths and the sums of one output, for CPU and GPU.
//
// Along each axis, with the filter f flipped beforehand (a true convolution) and pixel i of the
// input at position i * up of a line that is zero elsewhere:
//   y[o] = sum over taps t of f[t] * line[o * down - pad0 + t]
// The number of outputs is given, so that the padding at the end needs no mention, and the gradient
// is the same operation: filter flipped back, `up` and `down` swapped, pad0' = taps - 1 - pad0.
#pragma once

#include "common.h"

namespace gan_ops {

constexpr int kMaxTaps = 32;

struct Upfirdn {
  int64_t n, in_h, in_w, channels, out_h, out_w;
  int64_t padx0, pady0;
  int upx, upy, downx, downy;
  int kw, kh;
};

struct Filter {
  float k[kMaxTaps * kMaxTaps];  // [kh,kw] without gaps, flipped
};

// A filter of 4x4 taps as column times row, flipped.
struct Taps4 {
  float column[4], row[4];
};

GAN_HD int64_t offset(int64_t height, int64_t width, int64_t channels, int64_t n, int64_t y,
                      int64_t x, int64_t c) {
  return ((n * height + y) * width + x) * channels + c;
}

// The input pixels that an output meets: `count` from `input` on, with the taps tap, tap + up, ...
struct Span {
  int64_t input;
  int tap, count;
};

GAN_HD Span span(int64_t output, int64_t size, int up, int down, int64_t pad0, int taps) {
  const int64_t start = output * down - pad0;  // where the filter lies
  int64_t input = ceil_div<int64_t>(start, up);
  if (input < 0) input = 0;
  const int64_t tap = input * up - start;
  int64_t count = tap < taps ? (taps - 1 - tap) / up + 1 : 0;
  if (count > size - input) count = size - input;
  return count > 0 ? Span{input, static_cast<int>(tap), static_cast<int>(count)} : Span{0, 0, 0};
}

// Where an item of work lies: a block of channels of a pixel, or of a strip of rows in one column.
struct Position {
  int64_t n, row, column, block;
};

GAN_HD Position position(int64_t item, int64_t rows, int64_t columns, int64_t blocks) {
  const int64_t pixel = item / blocks, line = pixel / columns;
  return {line / rows, line % rows, pixel % columns, item % blocks};
}

GAN_HD void advance(Position& at, int64_t rows, int64_t columns, int64_t blocks) {
  if (++at.block < blocks) return;
  at.block = 0;
  if (++at.column < columns) return;
  at.column = 0;
  if (++at.row < rows) return;
  at.row = 0;
  ++at.n;
}

// Any filter: V channels from c on of one output pixel; at.row is its row.
template <int V, typename T>
GAN_HD void filter_pixel(const Upfirdn& u, const Filter& f, const T* x, T* y, const Position& at,
                         int64_t c) {
  const Span sy = span(at.row, u.in_h, u.upy, u.downy, u.pady0, u.kh);
  const Span sx = span(at.column, u.in_w, u.upx, u.downx, u.padx0, u.kw);
  Pack<V> sum;
  clear(sum);
  for (int i = 0; i < sy.count; ++i) {
    const T* from = x + offset(u.in_h, u.in_w, u.channels, at.n, sy.input + i, sx.input, c);
    const float* k = f.k + (sy.tap + i * u.upy) * u.kw + sx.tap;
    for (int j = 0; j < sx.count; ++j) {
      multiply_add(sum, k[j * u.upx], load<V>(from + j * u.channels));
    }
  }
  store(y + offset(u.out_h, u.out_w, u.channels, at.n, at.row, at.column, c), sum);
}

// Rows of an output column that `filter_strip` makes; the more, the fewer rows are filtered twice.
constexpr int kStrip = 8;

// The fast path, 4x4 separable taps and factors of 1 or 2: V channels of kStrip rows, at.row counts
// strips. Each input row is filtered horizontally once and kept while an output row needs it.
template <int V, int UP, int DOWN, typename T>
GAN_HD void filter_strip(const Upfirdn& u, const Taps4& f, const T* x, T* y, const Position& at,
                         int64_t c) {
  constexpr int kMet = 4 / UP;  // taps per axis that meet a pixel
  const int64_t start = at.column * DOWN - u.padx0;
  const int64_t left = ceil_div<int64_t>(start, UP);
  float weight[kMet];
  bool inside[kMet];
  for (int j = 0; j < kMet; ++j) {
    weight[j] = f.row[left * UP - start + j * UP];
    inside[j] = left + j >= 0 && left + j < u.in_w;
  }
  int64_t row = at.row * kStrip;
  const int64_t end = row + kStrip < u.out_h ? row + kStrip : u.out_h;
  Pack<V> window[kMet];  // the filtered rows next - kMet .. next - 1
  for (int j = 0; j < kMet; ++j) clear(window[j]);
  int64_t next = ceil_div<int64_t>(row * DOWN - u.pady0, UP);
  for (; row < end; ++row) {
    const int64_t top = row * DOWN - u.pady0;
    const int64_t first = ceil_div<int64_t>(top, UP);
    for (; next < first + kMet; ++next) {
      for (int j = 0; j + 1 < kMet; ++j) window[j] = window[j + 1];
      clear(window[kMet - 1]);
      if (next < 0 || next >= u.in_h) continue;
      const int64_t from = offset(u.in_h, u.in_w, u.channels, at.n, next, left, c);
      for (int j = 0; j < kMet; ++j) {
        if (inside[j]) {
          multiply_add(window[kMet - 1], weight[j], load<V>(x + from + j * u.channels));
        }
      }
    }
    Pack<V> sum;
    clear(sum);
    for (int j = 0; j < kMet; ++j) {
      multiply_add(sum, f.column[first * UP - top + j * UP], window[j]);
    }
    store(y + offset(u.out_h, u.out_w, u.channels, at.n, row, at.column, c), sum);
  }
}

// The fast path that a call may take: its factor pair, or kNone.
enum FastPath { kNone, kSame, kUp2, kDown2 };

}  // namespace gan_ops

// Launches the CUDA kernel on `stream` (a cudaStream_t): nullptr, or what went wrong.
extern "C" const char* gan_upfirdn_cuda(gan_ops::DataType type, gan_ops::FastPath path,
                                        const void* x, void* y, const gan_ops::Upfirdn& u,
                                        const gan_ops::Filter& filter, const gan_ops::Taps4& taps,
                                        void* stream);

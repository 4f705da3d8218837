#include "quantize/integer_step.h"

#include <algorithm>
#include <numeric>

#include "base/thread_pool.h"

namespace outrider::quantize {
namespace {

// Columns between two products: within them feedback is added column by column.
constexpr long kBlock = 64;

bool reserve_floats(Buffer* buffer, long count) {
  *buffer = Buffer(static_cast<std::size_t>(count) * sizeof(float));
  return static_cast<bool>(*buffer);
}

}  // namespace

Result IntegerStep::prepare(const float* H, const Shape& s, const Effort& effort) {
  order_.resize(static_cast<std::size_t>(s.d));
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](std::int32_t a, std::int32_t b) { return H[a * s.d + a] > H[b * s.d + b]; });
  Buffer ordered;
  if (!reserve_floats(&ordered, s.d * s.d))
    return Result::error(Status::kMemory, "Cannot allocate memory for the statistics of a layer");
  parallel(effort.threads, [&](int index, int count) {
    const Share rows = share_of(s.d, index, count);
    for (long i = rows.begin; i < rows.end; ++i) {
      const float* from = H + static_cast<long>(order_[static_cast<std::size_t>(i)]) * s.d;
      float* to = ordered.as<float>() + i * s.d;
      for (long j = 0; j < s.d; ++j) to[j] = from[order_[static_cast<std::size_t>(j)]];
    }
  });
  return factor(ordered.as<float>(), s.d, effort.threads, &factor_);
}

Result IntegerStep::run(const float* W, const Shape& s, const Grid& grid, Product& product, std::int8_t* q) const {
  const long d = s.d;
  Buffer lost, from;  // [M, d]: w0 - w^ in the order of the recursion; [M, block]: what is rounded
  if (!reserve_floats(&lost, s.M * d) || !reserve_floats(&from, s.M * kBlock))
    return Result::error(Status::kMemory, "Cannot allocate memory for the integer step of a layer");
  const float* const feedback = factor_.feedback.data();
  for (long begin = 0; begin < d; begin += kBlock) {
    const long size = std::min(kBlock, d - begin);
    if (begin > 0) {
      const View rows{feedback + begin, size, begin, d, true};
      if (Result done = product.multiply(lost.as<float>(), s.M, d, rows, from.as<float>(), kBlock); !done.ok())
        return done;
    }
    parallel(product.effort().threads, [&](int index, int count) {
      const Share mine = share_of(s.M, index, count);
      for (long m = mine.begin; m < mine.end; ++m) {
        float* const value = from.as<float>() + m * kBlock;
        for (long i = 0; i < size; ++i) {
          const long place = begin + i, column = order_[static_cast<std::size_t>(place)];
          const auto at = static_cast<std::size_t>(m * s.G + column / s.group);
          const float w0 = W[m * d + column], scale = grid.scale[at], zero = grid.zero[at];
          const int code = nearest(w0 + value[i], scale, zero, s.low(), s.high());
          const float gone = w0 - (scale * static_cast<float>(code) + zero);
          q[m * d + column] = static_cast<std::int8_t>(code);
          lost.as<float>()[m * d + place] = gone;
          const float* row = feedback + place * d + begin;
          for (long j = i + 1; j < size; ++j) value[j] += gone * row[j];
        }
      }
    });
  }
  return {};
}

}  // namespace outrider::quantize

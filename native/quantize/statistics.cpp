#include "quantize/statistics.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "quantize/dense_steps.h"

namespace outrider::quantize {
namespace {

constexpr long kRows = 512;

}  // namespace

Result second_moments(const float* X, long n, long d, Product& product, Buffer* H) {
  const auto size = static_cast<std::size_t>(d * d);
  const Buffer sums(size * sizeof(double)), part(size * sizeof(float)),
      turned(static_cast<std::size_t>(d * kRows) * sizeof(float));
  *H = Buffer(size * sizeof(float));
  if (!sums || !part || !turned || !*H)
    return Result::error(Status::kMemory, "Cannot allocate memory for the statistics of a layer");
  const int threads = product.effort().threads;
  for (long first = 0; first < n; first += kRows) {
    const long rows = std::min(kRows, n - first);
    const float* const chunk = X + first * d;
    transpose(chunk, rows, d, d, product.effort(), turned.as<float>());
    const View columns{chunk, d, rows, d, true};
    if (Result done = product.multiply(turned.as<float>(), d, rows, columns, part.as<float>(), d); !done.ok())
      return done;
    parallel(threads, [&](int index, int count) {
      const Share mine = share_of(d * d, index, count);
      for (long i = mine.begin; i < mine.end; ++i) sums.as<double>()[i] += part.as<float>()[i];
    });
  }
  parallel(threads, [&](int index, int count) {
    const Share mine = share_of(d, index, count);
    for (long i = mine.begin; i < mine.end; ++i) {
      for (long j = 0; j < d; ++j) {  // the mean of both triangles: symmetric to the last bit
        const double both = sums.as<double>()[i * d + j] + sums.as<double>()[j * d + i];
        H->as<float>()[i * d + j] = static_cast<float>(both / (2.0 * static_cast<double>(n)));
      }
    }
  });
  return {};
}

}  // namespace outrider::quantize

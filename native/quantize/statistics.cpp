#include "quantize/statistics.h"

#include <algorithm>

#include "quantize/dense_steps.h"

namespace outrider::quantize {
namespace {

constexpr long kRows = 512;

// sums [d, d] = Y^T X of Y and X [n, d].
Result sum_products(const float* Y, const float* X, long n, long d, Product& product, Buffer* sums) {
  const auto size = static_cast<std::size_t>(d * d);
  *sums = Buffer(size * sizeof(double));
  const Buffer part(size * sizeof(float)), turned(static_cast<std::size_t>(d * kRows) * sizeof(float));
  if (!*sums || !part || !turned)
    return Result::error(Status::kMemory, "Cannot allocate memory for the statistics of a layer");
  for (long first = 0; first < n; first += kRows) {
    const long rows = std::min(kRows, n - first);
    transpose(Y + first * d, rows, d, d, product.effort(), turned.as<float>());
    const View columns{X + first * d, d, rows, d, true};
    if (Result done = product.multiply(turned.as<float>(), d, rows, columns, part.as<float>(), d); !done.ok())
      return done;
    over(d * d, product.effort(), [&](long i) { sums->as<double>()[i] += part.as<float>()[i]; });
  }
  return {};
}

// out [d, d] = the mean of `at`(i, j), an entry of the sums over n rows.
template <typename Entry>
Result mean_of(long n, long d, const Effort& effort, const Entry& at, Buffer* out) {
  *out = floats(d * d);
  if (!*out) return Result::error(Status::kMemory, "Cannot allocate memory for the statistics of a layer");
  over(d, effort, [&](long i) {
    for (long j = 0; j < d; ++j) out->as<float>()[i * d + j] = static_cast<float>(at(i, j) / static_cast<double>(n));
  });
  return {};
}

}  // namespace

Result second_moments(const float* X, long n, long d, Product& product, Buffer* H) {
  Buffer sums;
  if (Result done = sum_products(X, X, n, d, product, &sums); !done.ok()) return done;
  // The mean of both triangles: symmetric to the last bit.
  const double* const sum = sums.as<double>();
  return mean_of(
      n, d, product.effort(), [=](long i, long j) { return (sum[i * d + j] + sum[j * d + i]) / 2; }, H);
}

Result cross_moments(const float* Y, const float* X, long n, long d, Product& product, Buffer* C) {
  Buffer sums;
  if (Result done = sum_products(Y, X, n, d, product, &sums); !done.ok()) return done;
  const double* const sum = sums.as<double>();
  return mean_of(
      n, d, product.effort(), [=](long i, long j) { return sum[i * d + j]; }, C);
}

}  // namespace outrider::quantize

#include "quantize/factor.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "base/thread_pool.h"

namespace outrider::quantize {
namespace {

constexpr long kBlock = 32;

// target[i] -= sum of four rows times four factors, i < n: the inner loop of everything here.
void subtract_four(double* __restrict target, const double* const (&rows)[4], const double (&factors)[4], long n) {
  const double* __restrict a = rows[0];
  const double* __restrict b = rows[1];
  const double* __restrict c = rows[2];
  const double* __restrict d = rows[3];
  for (long i = 0; i < n; ++i) {
    target[i] -= (a[i] * factors[0] + b[i] * factors[1]) + (c[i] * factors[2] + d[i] * factors[3]);
  }
}

// In place: the lower triangle of A becomes C with A = C^T C, row k from the last to the first. False at the first
// pivot that is not positive.
bool cholesky_from_below(double* A, long d, int threads) {
  for (long end = d; end > 0; end -= kBlock) {
    const long begin = std::max(0L, end - kBlock);
    for (long k = end - 1; k >= begin; --k) {
      double* row = A + k * d;
      if (!(row[k] > 0) || !std::isfinite(row[k])) return false;
      const double inverse = 1 / std::sqrt(row[k]);
      for (long i = 0; i <= k; ++i) row[i] *= inverse;
      for (long j = begin; j < k; ++j) {
        double* target = A + j * d;
        const double factor = row[j];
        for (long i = 0; i <= j; ++i) target[i] -= factor * row[i];
      }
    }
    const long count = end - begin;
    parallel(threads, [&](int index, int of) {
      for (long j = index; j < begin; j += of) {  // rows grow with j: dealt out one by one
        double* target = A + j * d;
        long k = 0;
        for (; k + 4 <= count; k += 4) {
          const double* const rows[4] = {A + (begin + k) * d, A + (begin + k + 1) * d, A + (begin + k + 2) * d,
                                         A + (begin + k + 3) * d};
          const double factors[4] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j]};
          subtract_four(target, rows, factors, j + 1);
        }
        for (; k < count; ++k) {
          const double* row = A + (begin + k) * d;
          for (long i = 0; i <= j; ++i) target[i] -= row[j] * row[i];
        }
      }
    });
  }
  return true;
}

}  // namespace

Result factor(const float* H, long d, int threads, Factor* out) {
  const auto size = static_cast<std::size_t>(d) * static_cast<std::size_t>(d);
  const std::unique_ptr<double[]> A(new (std::nothrow) double[size]);
  if (A == nullptr)
    return Result::error(Status::kMemory, "Cannot allocate memory to factor the calibration statistics");
  double mean = 0;
  for (long i = 0; i < d; ++i) mean += static_cast<double>(H[i * d + i]) / static_cast<double>(d);
  out->d = d;
  for (const double t : {0.01, 0.1, 1.0, 10.0, 100.0}) {
    for (std::size_t i = 0; i < size; ++i) A[i] = H[i];
    for (long i = 0; i < d; ++i) A[static_cast<std::size_t>(i * d + i)] += t * mean;
    if (!cholesky_from_below(A.get(), d, threads)) continue;
    out->damping = t;
    out->root.resize(static_cast<std::size_t>(d));
    out->feedback.assign(size, 0.0f);
    for (long i = 0; i < d; ++i) {
      const double* row = A.get() + i * d;  // row[j] = R_ji
      out->root[static_cast<std::size_t>(i)] = row[i];
      for (long j = 0; j <= i; ++j)
        out->feedback[static_cast<std::size_t>(j * d + i)] = static_cast<float>(row[j] / row[i]);
    }
    return {};
  }
  return Result::error(Status::kArgument,
                       "Expected calibration statistics that are finite and not all zero, received a matrix that no "
                       "damping makes positive definite");
}

// H' = N D^2 N^T with N the feedback, which is unit upper triangular, and D the roots: x is divided by one after the
// other.
void solve(const Factor& factor, double* x) {
  const long d = factor.d;
  const float* const feedback = factor.feedback.data();
  for (long j = d - 1; j >= 0; --j) {
    const float* const row = feedback + j * d;
    double sums[8] = {};
    long i = j + 1;
    for (; i + 8 <= d; i += 8) {
      for (long lane = 0; lane < 8; ++lane) sums[lane] += row[i + lane] * x[i + lane];
    }
    for (; i < d; ++i) sums[0] += row[i] * x[i];
    x[j] -= ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
  for (long i = 0; i < d; ++i)
    x[i] /= factor.root[static_cast<std::size_t>(i)] * factor.root[static_cast<std::size_t>(i)];
  for (long j = 0; j < d; ++j) {
    const float* const row = feedback + j * d;
    const double by = x[j];
    for (long i = j + 1; i < d; ++i) x[i] -= row[i] * by;
  }
}

}  // namespace outrider::quantize

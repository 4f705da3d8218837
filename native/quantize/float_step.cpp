#include "quantize/float_step.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"

namespace outrider::quantize {
namespace {

// Bytes of systems that are assembled at a time.
constexpr std::size_t kSliceBytes = std::size_t{64} << 20;

// Solves P x = y for a symmetric positive semidefinite P [n, n] (lower triangle) by Cholesky factorisation of P scaled
// to a unit diagonal, with as small a ridge as factors; x in y. False if none does. Overwrites P.
bool solve(double* P, double* y, long n, std::vector<double>& scratch) {
  const auto size = static_cast<std::size_t>(n * n);
  scratch.resize(size + static_cast<std::size_t>(n));
  double* const L = scratch.data();
  double* const unit = L + size;
  for (long i = 0; i < n; ++i) unit[i] = P[i * n + i] > 0 ? 1 / std::sqrt(P[i * n + i]) : 1;
  for (const double ridge : {0.0, 1e-8, 1e-4, 1e-2}) {
    bool positive = true;
    for (long i = 0; i < n && positive; ++i) {
      for (long j = 0; j <= i; ++j) {
        double sum = P[i * n + j] * unit[i] * unit[j];
        const double* const a = L + i * n;
        const double* const b = L + j * n;
        for (long k = 0; k < j; ++k) sum -= a[k] * b[k];
        if (j < i) {
          L[i * n + j] = sum / b[j];
        } else {
          sum += ridge;
          positive = sum > 1e-12 && std::isfinite(sum);
          L[i * n + i] = std::sqrt(sum);
        }
      }
    }
    if (!positive) continue;
    for (long i = 0; i < n; ++i) {
      double sum = y[i] * unit[i];
      for (long k = 0; k < i; ++k) sum -= L[i * n + k] * y[k];
      y[i] = sum / L[i * n + i];
    }
    for (long i = n - 1; i >= 0; --i) {
      double sum = y[i];
      for (long k = i + 1; k < n; ++k) sum -= L[k * n + i] * y[k];
      y[i] = sum / L[i * n + i];
    }
    for (long i = 0; i < n; ++i) y[i] *= unit[i];
    return true;
  }
  return false;
}

// Adds the part of group l to the systems of one row. T: [d] = q_l H, the codes of group l times its rows of H.
void add_group(const Shape& s, const float* H_rows_sum, const float* T, const std::int8_t* q, long l, double* P) {
  const long n = s.symmetric ? s.G : 2 * s.G;
  for (long j = 0; j < s.G; ++j) {
    double with_codes = 0, with_ones = 0, ones = 0;
    for (long k = j * s.group; k < s.group_end(j); ++k) {
      with_codes += static_cast<double>(T[k]) * q[k];
      with_ones += T[k];
    }
    if (j >= l) P[j * n + l] = with_codes;
    if (s.symmetric) continue;
    P[(s.G + j) * n + l] = with_ones;
    if (j < l) continue;
    for (long k = j * s.group; k < s.group_end(j); ++k) ones += H_rows_sum[k];
    P[(s.G + j) * n + s.G + l] = ones;
  }
}

}  // namespace

Result float_step(const float* H, const float* HW, const Shape& s, const std::int8_t* q, Product& product, Grid* grid) {
  const long n = s.symmetric ? s.G : 2 * s.G;
  const auto system = static_cast<std::size_t>(n * n + n);
  const long slice = std::clamp(static_cast<long>(kSliceBytes / (system * sizeof(double))), 1L, s.M);
  const Buffer systems(static_cast<std::size_t>(slice) * system * sizeof(double)),
      codes(static_cast<std::size_t>(slice * s.group) * sizeof(float)),
      products(static_cast<std::size_t>(slice * s.d) * sizeof(float)),
      sums(static_cast<std::size_t>(s.G * s.d) * sizeof(float));  // [G, d]: rows of H summed over each group
  if (!systems || !codes || !products || !sums)
    return Result::error(Status::kMemory, "Cannot allocate memory for the floating step of a layer");
  const int threads = product.effort().threads;
  parallel(threads, [&](int index, int count) {
    const Share groups = share_of(s.G, index, count);
    for (long g = groups.begin; g < groups.end; ++g) {
      float* const sum = sums.as<float>() + g * s.d;
      for (long i = g * s.group; i < s.group_end(g); ++i) {
        for (long k = 0; k < s.d; ++k) sum[k] += H[i * s.d + k];
      }
    }
  });
  for (long first = 0; first < s.M; first += slice) {
    const long rows = std::min(slice, s.M - first);
    for (long l = 0; l < s.G; ++l) {
      const long begin = l * s.group, size = s.group_end(l) - begin;
      parallel(threads, [&](int index, int count) {
        const Share mine = share_of(rows, index, count);
        for (long m = mine.begin; m < mine.end; ++m) {
          const std::int8_t* from = q + (first + m) * s.d + begin;
          for (long k = 0; k < size; ++k) codes.as<float>()[m * s.group + k] = from[k];
        }
      });
      // H is symmetric: its rows of the group are its columns.
      const View group{H + begin, s.d, size, s.d};
      if (Result done = product.multiply(codes.as<float>(), rows, s.group, group, products.as<float>(), s.d);
          !done.ok())
        return done;
      parallel(threads, [&](int index, int count) {
        const Share mine = share_of(rows, index, count);
        for (long m = mine.begin; m < mine.end; ++m) {
          add_group(s, sums.as<float>() + l * s.d, products.as<float>() + m * s.d, q + (first + m) * s.d, l,
                    systems.as<double>() + static_cast<std::size_t>(m) * system);
        }
      });
    }
    parallel(threads, [&](int index, int count) {
      std::vector<double> scratch;
      const Share mine = share_of(rows, index, count);
      for (long m = mine.begin; m < mine.end; ++m) {
        double* const P = systems.as<double>() + static_cast<std::size_t>(m) * system;
        double* const y = P + n * n;
        const float* const hw = HW + (first + m) * s.d;
        const std::int8_t* const code = q + (first + m) * s.d;
        for (long g = 0; g < s.G; ++g) {
          double with_codes = 0, with_ones = 0;
          for (long k = g * s.group; k < s.group_end(g); ++k) {
            with_codes += static_cast<double>(hw[k]) * code[k];
            with_ones += hw[k];
          }
          y[g] = with_codes;
          if (!s.symmetric) y[s.G + g] = with_ones;
        }
        if (!solve(P, y, n, scratch)) continue;
        for (long g = 0; g < s.G; ++g) {
          const auto at = static_cast<std::size_t>((first + m) * s.G + g);
          grid->scale[at] = static_cast<float>(y[g]);
          if (!s.symmetric) grid->zero[at] = static_cast<float>(y[s.G + g]);
        }
      }
    });
  }
  return {};
}

}  // namespace outrider::quantize

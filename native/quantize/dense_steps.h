// The steps that every forward pass of the quantiser is made of, on plain f32 matrices.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "quantize/product.h"

namespace outrider::quantize {

// body(i) for every item, split over threads.
template <typename Body>
void over(long items, const Effort& effort, const Body& body) {
  parallel(effort.threads, [&](int index, int count) {
    const Share mine = share_of(items, index, count);
    for (long i = mine.begin; i < mine.end; ++i) body(i);
  });
}

inline Buffer floats(long count) { return Buffer(static_cast<std::size_t>(count) * sizeof(float)); }

struct Linear {
  long rows = 0, cols = 0;
  Buffer w;                 // [rows, cols]
  std::vector<float> bias;  // [rows] or empty
};

// out [T, rows] = in [T, cols] w^T + bias
Result project(const Linear& linear, const float* in, long T, Product& product, float* out,
               Factors factors = Factors::kF32);

// out [T, cols] = rows of the table that the tokens name, times `scale`.
void embed(const Linear& table, const std::int32_t* tokens, long T, float scale, float* out);

// to [cols, rows] = from [rows, cols], rows of it `stride` apart.
void transpose(const float* from, long rows, long cols, long stride, const Effort& effort, float* to);

// Root-mean-square normalisation of rows of K; see ops/rmsnorm.
void norm_rows(const float* x, const std::vector<float>& weight, float* out, long rows, long K, float eps,
               const Effort& effort);

// Heads of one sequence: q and out [T, H, D], k and v [T, G, D].
struct Heads {
  long T, D, H, G;
  long window;  // 0: none
  float scale, soft_cap;
};

// Queries of a head that are multiplied with keys at a time: later keys than the last of them are left out.
constexpr long kQueries = 256;

// out of one head: softmax(q k^T) v with later keys, and keys outside the window, at -infinity. `weights` receives the
// softmax, [T, T] with zeros up to the end of each run of kQueries; or, unless `keep`, is scratch of [kQueries, T].
Result attend(const Heads& heads, long head, const float* q, const float* k, const float* v, bool keep, float* weights,
              Product& product, float* out);

}  // namespace outrider::quantize

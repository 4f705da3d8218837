#include "quantize/compensation.h"

#include <vector>

#include "quantize/dense_steps.h"

namespace outrider::quantize {

Result compensate(const float* difference, const IntegerStep& step, long M, long d, Product& product, float* W) {
  const Buffer wanted = floats(M * d);
  if (!wanted) return Result::error(Status::kMemory, "Cannot allocate memory to compensate a layer");
  const View right{difference, d, d, d, true};
  if (Result done = product.multiply(W, M, d, right, wanted.as<float>(), d); !done.ok()) return done;
  const std::vector<std::int32_t>& order = step.order();
  parallel(product.effort().threads, [&](int index, int count) {
    const Share rows = share_of(M, index, count);
    std::vector<double> x(static_cast<std::size_t>(d));
    for (long m = rows.begin; m < rows.end; ++m) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = wanted.as<float>()[m * d + order[i]];
      solve(step.parts(), x.data());
      for (std::size_t i = 0; i < x.size(); ++i) W[m * d + order[i]] += static_cast<float>(x[i]);
    }
  });
  return {};
}

}  // namespace outrider::quantize

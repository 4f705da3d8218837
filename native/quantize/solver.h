// One linear layer to few bits: decoupleQ and the simpler methods that it starts from.
//
//   minimise over q, s, z, for each output   (w^ - w0)^T H (w^ - w0),   w^_k = s_g q_k + z_g, g = k / group
//
// with H = X^T X / n of the layer's inputs, damped. Source: decoupleQ (arXiv:2404.12759): scale and zero are variables
// of their own and not functions of the codes; integer and floating steps take turns, and each output keeps only what
// lowers its loss. So losses never rise.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "quantize/grid.h"
#include "quantize/integer_step.h"
#include "quantize/product.h"

namespace outrider::quantize {

enum class Method : int {
  kRound,      // to the nearest level of the grid that spans each group
  kGptq,       // one optimal-brain pass on that grid, where it pays
  kDecoupleq,  // integer and floating steps in turn
};

struct LayerTask {
  const float* W = nullptr;  // [M, d]
  const float* H = nullptr;  // [d, d], damped: damp() below
  Shape shape;
  Method method = Method::kDecoupleq;
  int rounds = 4;          // outer iterations of decoupleQ
  bool projected = false;  // integer steps by projected Adam instead of the recursion; for small d
  bool f16_grid = false;   // scales and zeros end as f16 numbers, zeros as those of unsigned codes: what files hold
  const std::atomic<bool>* abort = nullptr;
  const IntegerStep* integer = nullptr;  // prepared for H, where layers share it; null: made here
};

struct LayerResult {
  std::vector<std::int8_t> q;  // [M, d]
  Grid grid;                   // [M, G]
  std::vector<double> loss;    // [M]
  double energy = 0;           // tr W H W^T: what losing all of it would cost
  // The summed loss after each half step that the method took.
  struct Step {
    const char* name;
    double loss;
  };
  std::vector<Step> steps;
};

constexpr double kDamping = 0.01;  // decoupleQ's
// Adds `part` of the mean diagonal to the diagonal of H [d, d].
void damp(float* H, long d, double part);

// kAborted if `abort` was set meanwhile, kArgument for statistics that are not finite or all zero.
Result solve_layer(const LayerTask& task, const Effort& effort, LayerResult* out);

}  // namespace outrider::quantize

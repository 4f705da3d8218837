#include "ops/rope/rope.h"

namespace outrider::ref {

void rope(const ops::RopeArgs& args) {
  for (long t = 0; t < args.T; ++t) {
    for (long h = 0; h < args.H; ++h) {
      float* x = args.x + t * args.x_stride + h * args.D;
      for (long i = 0; i < args.half; ++i) {
        float& first = args.interleaved ? x[2 * i] : x[i];
        float& second = args.interleaved ? x[2 * i + 1] : x[i + args.half];
        const double a = first, b = second, c = args.cos[t * args.half + i], s = args.sin[t * args.half + i];
        first = static_cast<float>(a * c - b * s);
        second = static_cast<float>(b * c + a * s);
      }
    }
  }
}

}  // namespace outrider::ref

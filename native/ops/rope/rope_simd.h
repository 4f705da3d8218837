// The vector body, included inside a level's region. Half-split pairs are contiguous; interleaved ones stay scalar,
// with the same operations in the same order, because only small models and tests use them.

void rope(const ops::RopeArgs& args) {
  const long half = args.half;
  for (long t = 0; t < args.T; ++t) {
    const float* cos = args.cos + t * half;
    const float* sin = args.sin + t * half;
    for (long h = 0; h < args.H; ++h) {
      float* x = args.x + t * args.x_stride + h * args.D;
      if (args.interleaved) {
        for (long i = 0; i < half; ++i) {
          const float a = x[2 * i], b = x[2 * i + 1];
          x[2 * i] = __builtin_fmaf(a, cos[i], -(b * sin[i]));
          x[2 * i + 1] = __builtin_fmaf(b, cos[i], a * sin[i]);
        }
        continue;
      }
      for (long i = 0; i < half; i += kLanes) {
        const int lanes = static_cast<int>(half - i < kLanes ? half - i : kLanes);
        const F a = f_load_to(x + i, lanes), b = f_load_to(x + half + i, lanes);
        const F c = f_load_to(cos + i, lanes), s = f_load_to(sin + i, lanes);
        f_store_to(x + i, f_fma(a, c, f_sub(f_zero(), f_mul(b, s))), lanes);
        f_store_to(x + half + i, f_fma(b, c, f_mul(a, s)), lanes);
      }
    }
  }
}

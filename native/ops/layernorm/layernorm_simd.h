// The vector body, included inside a level's region. Two passes for the variance: subtracting squares of sums cancels.

void layernorm(const ops::LayernormArgs& args) {
  const long K = args.K;
  const auto lanes_at = [K](long k) { return static_cast<int>(K - k < kLanes ? K - k : kLanes); };
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * K;
    float* out = args.out + n * K;
    F sum = f_zero();
    for (long k = 0; k < K; k += kLanes) sum = f_add(sum, f_load_to(x + k, lanes_at(k)));
    const float mean = f_sum(sum) / static_cast<float>(K);
    const F centre = f_set1(mean);
    F squares = f_zero();
    for (long k = 0; k < K; k += kLanes) {
      // Lanes past the end take the mean, so that they add nothing.
      const F x0 = f_sub(f_load_to(x + k, lanes_at(k), mean), centre);
      squares = f_fma(x0, x0, squares);
    }
    const F scale = f_set1(1.0f / __builtin_sqrtf(f_sum(squares) / static_cast<float>(K) + args.eps));
    for (long k = 0; k < K; k += kLanes) {
      const int lanes = lanes_at(k);
      F y = f_mul(f_sub(f_load_to(x + k, lanes), centre), scale);
      if (args.weight != nullptr) y = f_mul(y, f_load_to(args.weight + k, lanes));
      if (args.bias != nullptr) y = f_add(y, f_load_to(args.bias + k, lanes));
      f_store_to(out + k, y, lanes);
    }
  }
}

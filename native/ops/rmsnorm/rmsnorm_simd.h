// The vector body, included inside a level's region by rmsnorm_avx2.cpp and rmsnorm_avx512.cpp.
// Two accumulators, so that the chain of additions does not bound a short row; they are always combined in this order.

void rmsnorm(const ops::RmsnormArgs& args) {
  const long K = args.K, whole = K / kLanes * kLanes;
  const int rest = static_cast<int>(K - whole);
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    float* out = args.out + n * args.out_stride;
    F even = f_zero(), odd = f_zero();
    long k = 0;
    for (; k + 2 * kLanes <= whole; k += 2 * kLanes) {
      const F x0 = f_load(x + k), x1 = f_load(x + k + kLanes);
      even = f_fma(x0, x0, even);
      odd = f_fma(x1, x1, odd);
    }
    for (; k < whole; k += kLanes) {
      const F x0 = f_load(x + k);
      even = f_fma(x0, x0, even);
    }
    if (rest != 0) {
      const F x0 = f_load_n(x + whole, rest);
      odd = f_fma(x0, x0, odd);
    }
    const float mean = f_sum(f_add(even, odd)) / static_cast<float>(K);
    const F scale = f_set1(1.0f / __builtin_sqrtf(mean + args.eps));
    for (k = 0; k < whole; k += kLanes) {
      const F weight = args.weight == nullptr ? f_set1(1.0f) : f_load(args.weight + k);
      f_store(out + k, f_mul(f_mul(f_load(x + k), scale), weight));
    }
    if (rest != 0) {
      const F weight = args.weight == nullptr ? f_set1(1.0f) : f_load_n(args.weight + whole, rest);
      f_store_n(out + whole, f_mul(f_mul(f_load_n(x + whole, rest), scale), weight), rest);
    }
  }
}

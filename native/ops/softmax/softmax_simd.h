// The vector body, included inside a level's region. Lanes past the end of a row are -inf and weigh nothing.

static inline F softmax_score(const ops::SoftmaxArgs& args, const float* x, int lanes) {
  F s = f_mul(f_load_to(x, lanes), f_set1(args.scale));
  if (args.soft_cap > 0) {
    const F cap = f_set1(args.soft_cap);
    s = f_mul(cap, f_tanh(f_div(s, cap)));
  }
  if (lanes == kLanes) return s;
  float values[kLanes];
  f_store(values, s);
  for (int i = lanes; i < kLanes; ++i) values[i] = -__builtin_inff();
  return f_load(values);
}

void softmax(const ops::SoftmaxArgs& args) {
  const long K = args.K;
  const auto lanes_at = [K](long k) { return static_cast<int>(K - k < kLanes ? K - k : kLanes); };
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * K;
    float* out = args.out + n * K;
    F top = f_set1(-__builtin_inff());
    for (long k = 0; k < K; k += kLanes) top = f_max(softmax_score(args, x + k, lanes_at(k)), top);
    const F base = f_set1(f_max_lane(top));
    F sum = f_zero();
    for (long k = 0; k < K; k += kLanes) {
      const int lanes = lanes_at(k);
      const F e = f_exp(f_sub(softmax_score(args, x + k, lanes), base));
      sum = f_add(sum, e);
      f_store_to(out + k, e, lanes);
    }
    const F inverse = f_set1(1.0f / f_sum(sum));
    for (long k = 0; k < K; k += kLanes) {
      const int lanes = lanes_at(k);
      f_store_to(out + k, f_mul(f_load_to(out + k, lanes), inverse), lanes);
    }
  }
}

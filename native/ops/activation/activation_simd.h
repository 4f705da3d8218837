// The vector body, included inside a level's region.

// x / (1 + exp(-z)); for z below -87 the exponential is infinite and the quotient 0, as it should be.
static inline F gated_sigmoid(F x, F z) { return f_div(x, f_add(f_set1(1.0f), f_exp(f_sub(f_zero(), z)))); }

// erf by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, odd by construction.
static inline F f_erf(F x) {
  const F magnitude = f_abs(x);
  const F t = f_div(f_set1(1.0f), f_fma(f_set1(0.3275911f), magnitude, f_set1(1.0f)));
  F p = f_set1(1.061405429f);
  p = f_fma(p, t, f_set1(-1.453152027f));
  p = f_fma(p, t, f_set1(1.421413741f));
  p = f_fma(p, t, f_set1(-0.284496736f));
  p = f_fma(p, t, f_set1(0.254829592f));
  const F e = f_exp(f_sub(f_zero(), f_mul(magnitude, magnitude)));
  const F y = f_sub(f_set1(1.0f), f_mul(f_mul(p, t), e));
  return f_select_less(x, f_zero(), f_sub(f_zero(), y), y);
}

static inline F activate(ops::Activation kind, F x) {
  switch (kind) {
    case ops::Activation::kSilu:
      return gated_sigmoid(x, x);
    case ops::Activation::kGeluTanh: {
      const F cube = f_mul(f_mul(x, x), x);
      return gated_sigmoid(x, f_mul(f_set1(1.5957691216f), f_fma(f_set1(0.044715f), cube, x)));
    }
    case ops::Activation::kGelu:
      return f_mul(f_mul(f_set1(0.5f), x), f_add(f_set1(1.0f), f_erf(f_mul(x, f_set1(0.70710678f)))));
  }
  return x;
}

void activation(const ops::ActivationArgs& args) {
  for (long i = 0; i < args.n; i += kLanes) {
    const int lanes = static_cast<int>(args.n - i < kLanes ? args.n - i : kLanes);
    f_store_to(args.out + i, f_mul(activate(args.kind, f_load_to(args.gate + i, lanes)), f_load_to(args.up + i, lanes)),
               lanes);
  }
}

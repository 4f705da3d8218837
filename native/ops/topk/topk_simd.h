// The vector body, included inside a level's region. Sixteen entries are skipped with one comparison against the smallest
// kept value; the sum of exponentials keeps 64 partial sums, flushed into a double every 1024 entries.

static inline void topk_insert(float value, std::int32_t id, long k, long* count, float* values, std::int32_t* ids) {
  if (*count == k && !(value > values[k - 1])) return;
  long at = *count < k ? (*count)++ : k - 1;
  for (; at > 0 && values[at - 1] < value; --at) {
    values[at] = values[at - 1];
    ids[at] = ids[at - 1];
  }
  values[at] = value;
  ids[at] = id;
}

void topk(const ops::TopkArgs& args) {
  const float kNone = -__builtin_inff();
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    std::int32_t* ids = args.ids + n * args.k;
    float* values = args.values + n * args.k;
    long count = 0;
    for (long v = 0; v < args.V; v += kLanes) {
      const int lanes = static_cast<int>(args.V - v < kLanes ? args.V - v : kLanes);
      if (lanes == kLanes && count == args.k && !(f_max_lane(f_max(f_load(x + v), f_set1(kNone))) > values[args.k - 1])) {
        // f_max returns its second operand for NaN, so NaN counts as -inf; but a NaN could hide a number of another
        // lane in the fold only if it survived, which it does not.
        continue;
      }
      for (int i = 0; i < lanes; ++i) {
        const float value = x[v + i] == x[v + i] ? x[v + i] : kNone;
        topk_insert(value, static_cast<std::int32_t>(v + i), args.k, &count, values, ids);
      }
    }
    if (args.logsumexp == nullptr) continue;
    const float largest = values[0];
    const F base = f_set1(largest);
    double total = 0;
    for (long from = 0; from < args.V; from += 1024) {
      const long to = from + 1024 < args.V ? from + 1024 : args.V;
      F sum = f_zero();
      for (long v = from; v < to; v += kLanes) {
        const int lanes = static_cast<int>(to - v < kLanes ? to - v : kLanes);
        sum = f_add(sum, f_exp(f_sub(f_load_to(x + v, lanes, kNone), base)));
      }
      total += static_cast<double>(f_sum(sum));
    }
    args.logsumexp[n] = static_cast<float>(static_cast<double>(largest) + __builtin_log(total));
  }
}

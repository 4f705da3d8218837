// The vector body, included inside a level's region. Sixteen entries are skipped with one comparison against the
// smallest kept value; the sum of exponentials keeps 64 partial sums, flushed into a double every 1024 entries.

void topk(const ops::TopkArgs& args) {
  const float kNone = -__builtin_inff();
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    std::int32_t* ids = args.ids + n * args.k;
    float* values = args.values + n * args.k;
    ops::TopkHeap heap{values, ids, args.k};
    for (long v = 0; v < args.V; v += kLanes) {
      const int lanes = static_cast<int>(args.V - v < kLanes ? args.V - v : kLanes);
      if (lanes == kLanes && !heap.takes(f_max_lane(f_max(f_load(x + v), f_set1(kNone))))) {
        // f_max returns its second operand for NaN, so NaN counts as -inf; but a NaN could hide a number of another
        // lane in the fold only if it survived, which it does not.
        continue;
      }
      for (int i = 0; i < lanes; ++i) {
        const float value = x[v + i] == x[v + i] ? x[v + i] : kNone;
        heap.push(value, static_cast<std::int32_t>(v + i));
      }
    }
    heap.finish();
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

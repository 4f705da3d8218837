// gemm_prepare, included inside a level's region after gemm_tile.h. Levels with two-way bf16 dot products keep bf16
// activations in pairs; on the others they are floats of bf16 precision.

// 16 activations from any of the three types; `left` of them exist.
static inline F load_activations(const ops::GemmPrepareArgs& args, long at, long left) {
  if (left >= kLanes) {
    if (args.x_type == DType::kF32) return f_load(static_cast<const float*>(args.x) + at);
    const auto* half = static_cast<const std::uint16_t*>(args.x) + at;
    return args.x_type == DType::kF16 ? f_load_f16(half) : f_load_bf16(half);
  }
  float lanes[kLanes] = {};
  for (long i = 0; i < left; ++i) lanes[i] = load_float(args.x, args.x_type, static_cast<std::size_t>(at + i));
  return f_load(lanes);
}

// A group with a value that is not finite has scale NaN: it reaches every output of its row, as the value would have.
// kWhole: floats, and no padding.
template <bool kWhole>
static inline void quantise_group(const ops::GemmPrepareArgs& args, long x_at, long count, long padded, long at,
                                  long row_group) {
  const ops::GemmInput& in = *args.input;
  std::int8_t* const q = in.q + at;
  float* const scale = in.scale + row_group;
  const int zero_point = args.layout->zero_point;
  const auto load = [&](long k) OUTRIDER_INLINE {
    if constexpr (kWhole) return f_load(static_cast<const float*>(args.x) + x_at + k);
    return load_activations(args, x_at + k, count - k < 0 ? 0 : count - k);
  };
  F largest = f_zero(), poison = f_zero();
  for (long k = 0; k < count; k += kLanes) {
    const F x = load(k);
    largest = f_max(f_abs(x), largest);
    poison = f_fma(x, f_zero(), poison);
  }
  if (f_any_nan(poison)) {
    *scale = __builtin_nanf("");
    if (zero_point != 0)
      in.start[row_group] = 0;
    else
      in.sum[row_group] = __builtin_nanf("");
    __builtin_memset(q, 0, static_cast<std::size_t>(padded));
    return;
  }
  const float top = f_max_lane(largest);
  const F inverse = f_set1(top > 0 ? 127.0f / top : 0.0f);
  I integers = i_zero();
  for (long k = 0; k < padded; k += kLanes) {
    const I rounded = f_to_i(f_mul(load(k), inverse));
    integers = i_add(integers, rounded);
    i_store_i8(q + k, rounded, kWhole || padded - k >= kLanes ? kLanes : static_cast<int>(padded - k));
  }
  *scale = top / 127.0f;
  if (zero_point != 0)
    in.start[row_group] = -zero_point * i_sum(integers);
  else
    in.sum[row_group] = *scale * static_cast<float>(i_sum(integers));
}

static inline void copy_group(const ops::GemmPrepareArgs& args, long x_at, long count, long padded, float* out,
                              float* group_sum) {
  F sum = f_zero();
  for (long k = 0; k < padded; k += kLanes) {
    const F x = load_activations(args, x_at + k, count - k < 0 ? 0 : count - k);
    sum = f_add(sum, x);
    if (padded - k >= kLanes)
      f_store(out + k, x);
    else
      f_store_n(out + k, x, static_cast<int>(padded - k));
  }
  *group_sum = f_sum(sum);
}

static inline void round_row(const ops::GemmPrepareArgs& args, long n) {
  const long K = args.layout->cols, x_at = n * args.x_stride;
  ops::GemmInput& in = *args.input;
#if defined(OUTRIDER_HAS_BF16)
  // Pairs of bf16, the last one of an odd K with a 0.
  std::uint32_t* const pairs = in.pairs + n * in.padded_cols / 2;
  for (long k = 0; k < K; k += 2 * kLanes) {
    const F low = load_activations(args, x_at + k, K - k),
            high = load_activations(args, x_at + k + kLanes, K - k - kLanes < 0 ? 0 : K - k - kLanes);
    const I both = f_to_bf16_pairs(low, high);
    const long count = (K - k + 1) / 2;
    if (count >= kLanes)
      i_store(pairs + k / 2, both);
    else
      i_store_n(pairs + k / 2, both, static_cast<int>(count));
  }
#else
  float* const out = in.x + n * in.padded_cols;
  for (long k = 0; k < K; ++k)
    out[k] = bf16_to_f32(f32_to_bf16(load_float(args.x, args.x_type, static_cast<std::size_t>(x_at + k))));
#endif
}

void gemm_prepare(const ops::GemmPrepareArgs& args) {
  const PackedLayout& layout = *args.layout;
  ops::GemmInput& in = *args.input;
  const bool affine = is_affine(layout.format);
  const long padded_group = affine ? layout.group_blocks * codes_per_block(layout.format) : layout.cols;
  for (long n = args.row_begin; n < args.row_end; ++n) {
    if (in.mode == ops::Rounding::kBF16) {
      round_row(args, n);
      continue;
    }
    for (long g = 0; g < layout.groups; ++g) {
      const long first = g * layout.group;
      const long count = first + layout.group <= layout.cols ? layout.group : layout.cols - first;
      const long x_at = n * args.x_stride + first;
      const long at = n * in.padded_cols + g * padded_group;
      const long padded = g + 1 < layout.groups ? padded_group : layout.padded_cols - g * padded_group;
      const long row_group = n * layout.groups + g;
      if (in.mode == ops::Rounding::kInt8) {
        if (args.x_type == DType::kF32 && count == padded && count % kLanes == 0)
          quantise_group<true>(args, x_at, count, padded, at, row_group);
        else
          quantise_group<false>(args, x_at, count, padded, at, row_group);
      } else {
        copy_group(args, x_at, count, padded, in.x + at, in.sum + row_group);
      }
    }
  }
}

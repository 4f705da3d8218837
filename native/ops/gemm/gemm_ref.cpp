#include <cmath>

#include "ops/gemm/gemm.h"

namespace outrider::ref {
namespace {

double dense_dot(const PackedLayout& layout, const std::byte* panel, long lane, const float* x) {
  double sum = 0;
  for (long k = 0; k < layout.cols; ++k) {
    sum += static_cast<double>(dense_value(layout, panel, lane, k)) * x[k];
  }
  return sum;
}

double group_sum(const PackedLayout& layout, const ops::GemmInput& in, long at) {
  if (in.mode != ops::Rounding::kInt8 || layout.zero_point == 0) return in.sum[at];
  return static_cast<double>(in.start[at]) / -layout.zero_point * in.scale[at];
}

double affine_dot(const PackedLayout& layout, const std::byte* panel, long lane, const ops::GemmInput& in, long n) {
  const long block = codes_per_block(layout.format);
  double total = 0;
  for (long g = 0; g < layout.groups; ++g) {
    const auto* codes = reinterpret_cast<const std::uint8_t*>(panel + group_place(layout, g).codes) + lane * 4;
    const long blocks = g + 1 < layout.groups ? layout.group_blocks : layout.last_blocks;
    const long first = n * in.padded_cols + g * layout.group_blocks * block;
    double dot = 0;
    for (long k = 0; k < blocks * block; ++k) {
      dot += static_cast<double>(code_at(layout.format, codes, k)) *
             (in.mode == ops::Rounding::kInt8 ? static_cast<double>(in.q[first + k]) : in.x[first + k]);
    }
    if (in.mode == ops::Rounding::kInt8) dot *= in.scale[n * in.groups + g];
    total += affine_scale(layout, panel, lane, g) * dot;
    total += static_cast<double>(affine_zero(layout, panel, lane, g)) * group_sum(layout, in, n * in.groups + g);
  }
  return total;
}

}  // namespace

void gemm_prepare(const ops::GemmPrepareArgs& args) {
  const PackedLayout& layout = *args.layout;
  ops::GemmInput& in = *args.input;
  const long padded_group =
      is_affine(layout.format) ? layout.group_blocks * codes_per_block(layout.format) : layout.cols;
  for (long n = args.row_begin; n < args.row_end; ++n) {
    for (long g = 0; g < layout.groups; ++g) {
      const long first = g * layout.group;
      const long count = first + layout.group <= layout.cols ? layout.group : layout.cols - first;
      const long at = n * in.padded_cols + g * padded_group;
      const long padded = g + 1 < layout.groups ? padded_group : layout.padded_cols - g * padded_group;
      double sum = 0;
      float largest = 0;
      bool finite = true;
      for (long k = 0; k < count; ++k) {
        const float x = load_float(args.x, args.x_type, static_cast<std::size_t>(n * args.x_stride + first + k));
        sum += x;
        largest = std::fmax(largest, std::fabs(x));
        finite = finite && std::isfinite(x);
      }
      const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
      long integers = 0;
      for (long k = 0; k < padded; ++k) {
        const float x =
            k < count ? load_float(args.x, args.x_type, static_cast<std::size_t>(n * args.x_stride + first + k)) : 0.0f;
        if (in.mode == ops::Rounding::kInt8) {
          const long q = finite ? std::lrintf(x * inverse) : 0;
          in.q[at + k] = static_cast<std::int8_t>(q);
          integers += q;
        } else {
          in.x[at + k] = in.mode == ops::Rounding::kBF16 ? bf16_to_f32(f32_to_bf16(x)) : x;
        }
      }
      const long row_group = n * layout.groups + g;
      if (in.mode == ops::Rounding::kInt8) {
        const float scale = finite ? largest / 127.0f : __builtin_nanf("");
        in.scale[row_group] = scale;
        if (layout.zero_point != 0)
          in.start[row_group] = static_cast<std::int32_t>(-layout.zero_point * integers);
        else
          in.sum[row_group] = scale * static_cast<float>(integers);
      } else {
        in.sum[row_group] = static_cast<float>(sum);
      }
    }
  }
}

void gemm(const ops::GemmArgs& args) {
  const PackedLayout& layout = args.w->layout;
  for (long n = 0; n < args.input->N; ++n) {
    for (long m = args.panel_begin * kPanelRows; m < args.panel_end * kPanelRows && m < layout.rows; ++m) {
      const std::byte* panel = args.w->data + static_cast<std::size_t>(m / kPanelRows) * layout.panel_stride;
      const double sum = is_affine(layout.format)
                             ? affine_dot(layout, panel, m % kPanelRows, *args.input, n)
                             : dense_dot(layout, panel, m % kPanelRows, args.input->x + n * args.input->padded_cols);
      args.out[n * args.out_stride + m] = static_cast<float>(sum + (args.bias == nullptr ? 0.0f : args.bias[m]));
    }
  }
}

}  // namespace outrider::ref

#include "model/weights_pack.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "base/thread_pool.h"
#include "ops/gemm/gemm.h"

namespace outrider {
namespace {

// Stored bytes a thread packs before others get their turn: about a millisecond.
constexpr long kSliceBytes = 256 * 1024;

constexpr std::size_t element_bytes(WeightFormat format) { return format == WeightFormat::kF32 ? 4 : 2; }

bool span_fits(const std::vector<ModelFile>& files, const Span& span) {
  if (span.file < 0 || span.file >= static_cast<int>(files.size())) return false;
  const std::size_t size = files[static_cast<std::size_t>(span.file)].size();
  return span.offset <= size && span.bytes <= size - span.offset;
}

// Stored row that holds row `row` of what is taken. GGUF interleaves the two halves of each head: stored row
// (h, 2 i + j) is row (h, i + j D / 2).
long stored_row(long row, long rows, long permuted_heads) {
  if (permuted_heads == 0) return row;
  const long D = rows / permuted_heads, h = row / D, d = row % D;
  return h * D + (d < D / 2 ? 2 * d : 2 * (d - D / 2) + 1);
}

std::size_t row_bytes(const MatrixSource& source) {
  switch (source.kind) {
    case SourceKind::kDense:
      return static_cast<std::size_t>(source.cols) * element_bytes(source.dense);
    case SourceKind::kGguf:
      return gguf_row_bytes(source.gguf, static_cast<std::size_t>(source.cols));
    case SourceKind::kAffine:
      return static_cast<std::size_t>((source.cols * source.bits + 7) / 8);
  }
  return 0;
}

// What the values of a matrix decide about its layout.
struct Precision {
  bool f32_scales;
  int zero_point;
};

// The smallest that the format of the source allows.
Precision first_precision(const MatrixSource& source) {
  if (source.kind == SourceKind::kAffine) return {source.f32_scales, 1 << (source.bits - 1)};
  if (source.kind == SourceKind::kGguf)
    return {source.gguf >= GgufType::kQ2K, gguf_affine_shape(source.gguf).zero_point};
  return {};
}

PackedLayout layout_of(const MatrixSource& source, const Precision& precision) {
  if (source.kind == SourceKind::kDense) return packed_layout(source.dense, source.rows, source.cols, 0, false, 0);
  int bits = source.bits;
  long group = source.group;
  if (source.kind == SourceKind::kGguf) {
    const AffineShape shape = gguf_affine_shape(source.gguf);
    bits = shape.bits;
    group = shape.group;
  }
  return packed_layout(affine_format(bits, group, source.cols), source.rows, source.cols, group, precision.f32_scales,
                       precision.zero_point);
}

bool fits_f16(const float* values, long count) {
  for (long i = 0; i < count; ++i) {
    if (f16_to_f32(f32_to_f16(values[i])) != values[i]) return false;  // NaN too: it then stays in f32
  }
  return true;
}

// Scratch of one thread while packing: a share of stored rows, then one panel of it.
struct PanelRows {
  std::vector<std::uint8_t> stored, stored_scale, stored_zero, codes;
  std::vector<float> scale, zero;
  long first_stored = 0;
};

enum class Packed { kDone, kUnreadable, kNeedsF32, kNeedsZeros };

// Stored rows of panels [begin, end) into memory.
bool read_rows(const std::vector<ModelFile>& files, const MatrixSource& source, const PackedLayout& layout,
               Share panels, PanelRows* rows) {
  long low = source.stored_rows, high = 0;
  for (long r = panels.begin * kPanelRows; r < std::min(panels.end * kPanelRows, layout.rows); ++r) {
    const long stored = source.row_start + stored_row(r, source.rows, source.permuted_heads);
    low = std::min(low, stored);
    high = std::max(high, stored + 1);
  }
  rows->first_stored = low;
  const auto read = [&](const Span& span, std::size_t stride, std::vector<std::uint8_t>* out) {
    out->resize(static_cast<std::size_t>(high - low) * stride);
    return files[static_cast<std::size_t>(span.file)].read(span.offset + static_cast<std::size_t>(low) * stride,
                                                           out->size(), out->data());
  };
  if (!read(source.data, row_bytes(source), &rows->stored)) return false;
  if (source.kind != SourceKind::kAffine) return true;
  const std::size_t parameters = static_cast<std::size_t>(layout.groups) * (source.f32_scales ? 4 : 2);
  return read(source.scale, parameters, &rows->stored_scale) && read(source.zero, parameters, &rows->stored_zero);
}

void read_parameters(const std::uint8_t* stored, long count, bool wide, float* out) {
  if (wide) {
    std::memcpy(out, stored, static_cast<std::size_t>(count) * 4);
    return;
  }
  for (long g = 0; g < count; ++g) {
    std::uint16_t bits;
    std::memcpy(&bits, stored + 2 * g, 2);
    out[g] = f16_to_f32(bits);
  }
}

void decode_row(const MatrixSource& source, const PackedLayout& layout, const PanelRows& rows, long row, long r,
                PanelRows* out) {
  const long stored = source.row_start + stored_row(row, source.rows, source.permuted_heads) - rows.first_stored;
  const std::uint8_t* data = rows.stored.data() + static_cast<std::size_t>(stored) * row_bytes(source);
  std::uint8_t* codes = out->codes.data() + r * layout.cols;
  float* scale = out->scale.data() + r * layout.groups;
  float* zero = out->zero.data() + r * layout.groups;
  if (source.kind == SourceKind::kGguf) {
    gguf_decode_affine(source.gguf, data, static_cast<std::size_t>(layout.cols), codes, scale, zero);
    return;
  }
  unpack_codes(data, layout.cols, source.bits, codes);
  const std::size_t at = static_cast<std::size_t>(stored * layout.groups) * (source.f32_scales ? 4 : 2);
  read_parameters(rows.stored_scale.data() + at, layout.groups, source.f32_scales, scale);
  read_parameters(rows.stored_zero.data() + at, layout.groups, source.f32_scales, zero);
}

void pack_dense(const MatrixSource& source, const PackedLayout& layout, const PanelRows& rows, long panel,
                std::byte* out) {
  const long first = panel * kPanelRows, count = std::min(kPanelRows, layout.rows - first);
  const std::uint8_t* pointers[kPanelRows];
  for (long r = 0; r < count; ++r) {
    const long stored =
        source.row_start + stored_row(first + r, source.rows, source.permuted_heads) - rows.first_stored;
    pointers[r] = rows.stored.data() + static_cast<std::size_t>(stored) * row_bytes(source);
  }
  pack_dense_panel(layout, pointers, count, out);
}

// Panels [begin, end) by one thread.
Packed pack_panels(const std::vector<ModelFile>& files, const MatrixSource& source, const PackedLayout& layout,
                   Share panels, PanelRows* rows, std::byte* memory) {
  if (panels.begin == panels.end) return Packed::kDone;
  if (!read_rows(files, source, layout, panels, rows)) return Packed::kUnreadable;
  for (long panel = panels.begin; panel < panels.end; ++panel) {
    std::byte* out = memory + static_cast<std::size_t>(panel) * layout.panel_stride;
    if (!is_affine(layout.format)) {
      pack_dense(source, layout, *rows, panel, out);
      continue;
    }
    const long first = panel * kPanelRows, take = std::min(kPanelRows, layout.rows - first);
    rows->codes.resize(static_cast<std::size_t>(kPanelRows * layout.cols));
    rows->scale.resize(static_cast<std::size_t>(kPanelRows * layout.groups));
    rows->zero.resize(static_cast<std::size_t>(kPanelRows * layout.groups));
    for (long r = 0; r < take; ++r) decode_row(source, layout, *rows, first + r, r, rows);
    const long values = take * layout.groups;
    const bool from_f16 = source.kind == SourceKind::kAffine && !source.f32_scales;
    const bool zeros = layout.zero_point == 0;
    if (!zeros && !has_zero_point(rows->scale.data(), rows->zero.data(), values, layout.zero_point))
      return Packed::kNeedsZeros;
    if (!layout.f32_scales && !from_f16 &&
        !(fits_f16(rows->scale.data(), values) && (!zeros || fits_f16(rows->zero.data(), values)))) {
      return Packed::kNeedsF32;
    }
    pack_affine_panel(layout, {rows->codes.data(), rows->scale.data(), rows->zero.data(), take}, out);
  }
  return Packed::kDone;
}

Result pack_slices(const std::vector<ModelFile>& files, const MatrixSource& source, const PackedLayout& layout,
                   const LoadControl& control, std::byte* memory, Packed* done) {
  const auto panel_bytes = static_cast<long>(row_bytes(source)) * kPanelRows;
  const long slice = control.threads * std::max(1L, kSliceBytes / std::max(1L, panel_bytes));
  std::vector<PanelRows> rows(static_cast<std::size_t>(control.threads));
  PoliteCaller polite;
  for (long first = 0; first < layout.panels && *done == Packed::kDone; first += slice) {
    if (control.abort != nullptr && control.abort->load()) return Result::error(Status::kAborted, "aborted");
    const long count = std::min(slice, layout.panels - first);
    std::atomic<Packed> worst{Packed::kDone};
    parallel(control.threads, [&](int index, int threads) {
      const Share share = share_of(count, index, threads);
      const Packed packed = pack_panels(files, source, layout, {first + share.begin, first + share.end},
                                        &rows[static_cast<std::size_t>(index)], memory);
      if (packed != Packed::kDone) worst = packed;
    });
    *done = worst;
    if (*done == Packed::kUnreadable)
      return Result::error(Status::kIo, "A file of the model was cut short while it was loaded");
    polite.give_way();
  }
  return {};
}

}  // namespace

std::size_t packed_bytes(const MatrixSource& source) { return layout_of(source, first_precision(source)).total; }

std::size_t source_bytes(const MatrixSource& source) {
  return row_bytes(source) * static_cast<std::size_t>(source.rows);
}

Result check_source(const std::vector<ModelFile>& files, const MatrixSource& s, const char* name) {
  const auto bad = [name](const std::string& what) {
    return Result::error(Status::kFormat, std::string("Expected ") + what + " for " + name);
  };
  constexpr long kLimit = 1L << 31;
  if (s.rows <= 0 || s.cols <= 0 || s.rows >= kLimit || s.cols >= kLimit) return bad("positive rows and columns");
  if (s.row_start < 0 || s.stored_rows >= kLimit || s.row_start + s.rows > s.stored_rows)
    return bad("rows inside the stored matrix");
  if (s.permuted_heads != 0 && (s.permuted_heads < 0 || s.rows % (2 * s.permuted_heads) != 0))
    return bad("rows divisible by twice the heads");
  const std::size_t stride = row_bytes(s);
  if (stride == 0) return bad("columns divisible by the block size");
  if (s.data.bytes != stride * static_cast<std::size_t>(s.stored_rows) || !span_fits(files, s.data)) {
    return bad(std::to_string(stride * static_cast<std::size_t>(s.stored_rows)) + " bytes inside the file");
  }
  if (s.kind == SourceKind::kAffine) {
    if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8) return bad("2, 3, 4 or 8 bits");
    if (s.group <= 0) return bad("a positive group size");
    if (std::min(s.group, s.cols) > ops::kMaxInt8Group) {
      return Result::error(Status::kUnsupported, "Expected groups of at most " + std::to_string(ops::kMaxInt8Group) +
                                                     " inputs for " + name + ", received " +
                                                     std::to_string(std::min(s.group, s.cols)));
    }
    const long groups = s.group >= s.cols ? 1 : (s.cols + s.group - 1) / s.group;
    const std::size_t parameters = static_cast<std::size_t>(groups * s.stored_rows) * (s.f32_scales ? 4 : 2);
    if (s.scale.bytes != parameters || s.zero.bytes != parameters || !span_fits(files, s.scale) ||
        !span_fits(files, s.zero)) {
      return bad(std::to_string(parameters) + " bytes of scales and of zeros inside the file");
    }
  }
  return {};
}

Result pack_matrix(const std::vector<ModelFile>& files, const MatrixSource& source, const char* name,
                   const LoadControl& control, Arena* arena, Matrix* out) {
  if (Result checked = check_source(files, source, name); !checked.ok()) return checked;
  for (Precision precision = first_precision(source);;) {
    const PackedLayout layout = layout_of(source, precision);
    std::byte* const memory = arena->take(layout.total);
    if (memory == nullptr) {
      return Result::error(Status::kMemory, "Cannot allocate " + std::to_string(layout.total) + " bytes for " + name);
    }
    Packed done = Packed::kDone;
    if (Result packed = pack_slices(files, source, layout, control, memory, &done); !packed.ok()) return packed;
    if (done == Packed::kDone) {
      out->packed = {layout, memory};
      return {};
    }
    // Each once: f32 scales and stored zeros always fit.
    arena->give_back(memory);
    if (done == Packed::kNeedsF32) precision.f32_scales = true;
    if (done == Packed::kNeedsZeros) precision.zero_point = 0;
  }
}

Result read_vector(const std::vector<ModelFile>& files, const VectorSource& s, const char* name,
                   std::vector<float>* out) {
  const std::size_t size = element_bytes(s.format);
  const bool shape_ok = s.length > 0 && s.start >= 0 && s.stored_length < (1L << 31) &&
                        s.start + s.length <= s.stored_length &&
                        (s.permuted_heads == 0 || (s.permuted_heads > 0 && s.length % (2 * s.permuted_heads) == 0));
  if (!shape_ok || s.data.bytes != static_cast<std::size_t>(s.stored_length) * size || !span_fits(files, s.data)) {
    return Result::error(Status::kFormat,
                         "Expected a vector of " + std::to_string(s.length) + " values inside the file for " + name);
  }
  std::vector<std::uint8_t> stored(s.data.bytes);
  if (!files[static_cast<std::size_t>(s.data.file)].read(s.data.offset, stored.size(), stored.data()))
    return Result::error(Status::kIo, std::string("A file of the model was cut short before ") + name);
  out->resize(static_cast<std::size_t>(s.length));
  for (long i = 0; i < s.length; ++i) {
    const long at = s.start + stored_row(i, s.length, s.permuted_heads);
    float value = 0;
    if (s.format == WeightFormat::kF32) {
      std::memcpy(&value, stored.data() + static_cast<std::size_t>(at) * 4, 4);
    } else {
      std::uint16_t bits;
      std::memcpy(&bits, stored.data() + static_cast<std::size_t>(at) * 2, 2);
      value = s.format == WeightFormat::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
    (*out)[static_cast<std::size_t>(i)] = value + s.add;
  }
  return {};
}

}  // namespace outrider

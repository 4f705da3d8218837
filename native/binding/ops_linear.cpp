// Ops on packed weights and KV pages.
#include <napi.h>

#include <algorithm>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "binding/args.h"
#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/gemm/gemm.h"

namespace outrider::binding {
namespace {

using Info = Napi::CallbackInfo;

constexpr long kMaxDimension = 1L << 31;

DType take_type(const Napi::Value& value, const char* name) {
  const std::string type = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (type == "f32") return DType::kF32;
  if (type == "f16") return DType::kF16;
  if (type == "bf16") return DType::kBF16;
  wrong(value.Env(), "f32, f16 or bf16", name);
}

// Elements of one of the three float types. Float16Array has no tag in Node-API 8: lib/ passes its bits.
void* take_floats(const Napi::Value& value, DType type, long count, const char* name) {
  if (type == DType::kF32) return take_array<float>(value, count, name);
  return take_array<std::uint16_t>(value, count, name);
}

// What a JavaScript handle of packed weights holds.
struct PackedWeights {
  PackedMatrix matrix;
  Buffer memory;
};

// Tells our externals from those of other addons.
constexpr napi_type_tag kPackedTag = {0x6f75747269646572u, 0x7061636b65643031u};

const PackedMatrix& packed_arg(const Info& info, std::size_t index) {
  bool tagged = false;
  if (!info[index].IsExternal() ||
      napi_check_object_type_tag(info.Env(), info[index], &kPackedTag, &tagged) != napi_ok || !tagged) {
    wrong(info.Env(), "packed weights", "weights");
  }
  return info[index].As<Napi::External<PackedWeights>>().Data()->matrix;
}

void pack_codes(const PackedLayout& layout, int bits, const std::uint8_t* data, const float* scale, const float* zero,
                std::byte* out) {
  const long row_bytes = (layout.cols * bits + 7) / 8, per_byte = 8 / bits;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(kPanelRows * layout.cols));
  for (long panel = 0; panel < layout.panels; ++panel) {
    const long first = panel * kPanelRows, rows = std::min(kPanelRows, layout.rows - first);
    for (long r = 0; r < rows; ++r) {
      for (long k = 0; k < layout.cols; ++k) {
        const int byte = data[(first + r) * row_bytes + k / per_byte];
        codes[static_cast<std::size_t>(r * layout.cols + k)] =
            static_cast<std::uint8_t>(byte >> (k % per_byte * bits) & ((1 << bits) - 1));
      }
    }
    pack_affine_panel(layout, {codes.data(), scale + first * layout.groups, zero + first * layout.groups, rows},
                      out + static_cast<std::size_t>(panel) * layout.panel_stride);
  }
}

// (format, rows, cols, data, group, scaleFormat, scale, zero) => handle. format: f32, f16, bf16, affine2, affine4,
// affine8. Dense data is row-major; scale and zero are Float32Array or f16 bits.
Napi::Value pack_weights(const Info& info) {
  const Napi::Env env = info.Env();
  const std::string format = info[0].ToString().Utf8Value();
  const long rows = take_integer(info[1], "rows", 1, kMaxDimension),
             cols = take_integer(info[2], "cols", 1, kMaxDimension);
  auto weights = std::make_unique<PackedWeights>();
  const bool affine = format.rfind("affine", 0) == 0;
  const int bits = affine ? format.back() - '0' : 0;
  if (affine && bits != 2 && bits != 4 && bits != 8) wrong(env, "2, 4 or 8 bits", "format");
  const DType type = affine ? DType::kU8 : take_type(info[0], "format");
  const WeightFormat packed = bits == 2             ? WeightFormat::kU2
                              : bits == 4           ? WeightFormat::kU4
                              : bits == 8           ? WeightFormat::kU8
                              : type == DType::kF32 ? WeightFormat::kF32
                              : type == DType::kF16 ? WeightFormat::kF16
                                                    : WeightFormat::kBF16;
  const bool f32_scales = affine && info[5].ToString().Utf8Value() == "f32";
  const PackedLayout layout =
      packed_layout(packed, rows, cols, affine ? take_integer(info[4], "group", 1, kMaxDimension) : 0, f32_scales);
  weights->memory = Buffer(layout.total);
  if (!weights->memory) throw_error(env, Status::kMemory, "Cannot allocate packed weights");
  weights->matrix = {layout, weights->memory.data()};
  if (affine) {
    const auto* data = take_array<std::uint8_t>(info[3], rows * ((cols * bits + 7) / 8), "data");
    const long parameters = rows * layout.groups;
    const DType parameter_type = f32_scales ? DType::kF32 : DType::kF16;
    std::vector<float> scale(static_cast<std::size_t>(parameters)), zero(static_cast<std::size_t>(parameters));
    const void* s = take_floats(info[6], parameter_type, parameters, "scale");
    const void* z = take_floats(info[7], parameter_type, parameters, "zero");
    for (std::size_t i = 0; i < scale.size(); ++i) {
      scale[i] = load_float(s, parameter_type, i);
      zero[i] = load_float(z, parameter_type, i);
    }
    pack_codes(layout, bits, data, scale.data(), zero.data(), weights->memory.data());
  } else {
    const auto* data = static_cast<const std::uint8_t*>(take_floats(info[3], type, rows * cols, "data"));
    const std::size_t row_bytes = static_cast<std::size_t>(cols) * dtype_bytes(type);
    for (long panel = 0; panel < layout.panels; ++panel) {
      const long first = panel * kPanelRows;
      pack_dense_panel(layout, data + static_cast<std::size_t>(first) * row_bytes, row_bytes,
                       std::min(kPanelRows, rows - first),
                       weights->memory.data() + static_cast<std::size_t>(panel) * layout.panel_stride);
    }
  }
  auto handle =
      Napi::External<PackedWeights>::New(env, weights.release(), [](Napi::Env, PackedWeights* data) { delete data; });
  napi_type_tag_object(env, handle, &kPackedTag);
  return handle;
}

// (weights, x, xType, N, bias | undefined, out, int8, level?)
void gemm(const Info& info) {
  const Napi::Env env = info.Env();
  const PackedMatrix& w = packed_arg(info, 0);
  const DType type = take_type(info[2], "x type");
  const long N = take_integer(info[3], "N", 0, kMaxDimension), K = w.layout.cols, M = w.layout.rows;
  const void* x = take_floats(info[1], type, N * K, "x");
  const float* bias = take_optional<float>(info[4], M, "bias");
  float* out = take_array<float>(info[5], N * M, "out");
  const bool int8 = info[6].ToBoolean().Value();
  const Level level = read_level(info[7]);
  const auto threads = absent(info[8]) ? 1 : static_cast<int>(take_integer(info[8], "threads", 1, kMaxThreads));
  if (int8 && !is_affine(w.layout.format))
    throw_error(env, Status::kUnsupported, "Expected affine weights for int8 activations");
  if (N == 0) return;
  const Buffer block(ops::GemmInput::bytes(w.layout, N, int8) + 64);
  if (!block) throw_error(env, Status::kMemory, "Cannot allocate prepared activations");
  ops::GemmInput input = ops::GemmInput::place(w.layout, N, int8, block.data());
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(N, index, count);
    if (rows.begin < rows.end) ops::gemm_prepare({x, type, K, &w.layout, &input, rows.begin, rows.end}, level);
  });
  parallel(threads, [&](int index, int count) {
    const Share panels = share_of(w.layout.panels, index, count);
    ops::gemm({&w, &input, bias, out, M, panels.begin, panels.end}, level);
  });
}

// (weights, tokens, N, scale, out, level?)
void embedding(const Info& info) {
  const PackedMatrix& table = packed_arg(info, 0);
  const long N = take_integer(info[2], "N", 0, kMaxDimension);
  const std::int32_t* tokens = take_array<std::int32_t>(info[1], N, "tokens");
  for (long n = 0; n < N; ++n) {
    if (tokens[n] < 0 || tokens[n] >= table.layout.rows) wrong(info.Env(), "tokens below the number of rows", "tokens");
  }
  ops::embedding({&table, tokens, N, take_float(info[3], "scale"),
                  take_array<float>(info[4], N * table.layout.cols, "out"), table.layout.cols},
                 read_level(info[5]));
}

// (pages, type, G, D, token, key [G, D], value [G, D]): writes one token into pages [P, G, 2 * 64 * D].
void kv_write(const Info& info) {
  const DType type = take_type(info[1], "KV type");
  const long G = take_integer(info[2], "G", 1, 4096), D = take_integer(info[3], "D", 1, ops::kMaxHeadDim),
             token = take_integer(info[4], "token", 0, kMaxDimension);
  auto* pages =
      static_cast<std::byte*>(take_floats(info[0], type, (token / kPageTokens + 1) * G * 2 * kPageTokens * D, "pages"));
  const float* key = take_array<float>(info[5], G * D, "key");
  const float* value = take_array<float>(info[6], G * D, "value");
  for (long g = 0; g < G; ++g) {
    std::byte* page = pages + static_cast<std::size_t>(token / kPageTokens * G + g) * kv_page_bytes(D, type);
    kv_page_write(page, type, D, token % kPageTokens, key + g * D, value + g * D);
  }
}

// ({ q, out, N, H, G, D, pages, scratch?, kvType, positions, prefix, parents?, window, scale, softCap, threads? },
// level?) parents: -1 or an earlier row; row n is scratch slot n.
void attention(const Info& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "attention");
  const long N = read_integer(from, "N"), H = read_integer(from, "H"), G = read_integer(from, "G"),
             D = read_integer(from, "D");
  const long prefix = read_integer(from, "prefix"), window = read_integer(from, "window");
  if (N < 0 || N > 1 << 20 || H < 1 || H > 4096 || G < 1 || H % G != 0 || D < 1 || D > ops::kMaxHeadDim || prefix < 0 ||
      prefix > kMaxDimension || window < 0) {
    wrong(env, "dimensions in range", "attention");
  }
  const std::string type_name = read_string(from, "kvType");
  const DType type = type_name == "f32" ? DType::kF32 : type_name == "f16" ? DType::kF16 : DType::kBF16;
  const auto member = [&](const char* name, DType member_type, long count) -> void* {
    if (member_type == DType::kI32) return take_array<std::int32_t>(from.Get(name), count, name);
    return take_floats(from.Get(name), member_type, count, name);
  };
  const auto* position = static_cast<const std::int32_t*>(member("positions", DType::kI32, N));
  const bool tree = !absent(from.Get("parents"));
  const std::int32_t* parent = tree ? static_cast<const std::int32_t*>(member("parents", DType::kI32, N)) : nullptr;
  std::vector<std::int32_t> paths;
  long stride = 0;
  std::vector<long> depth(static_cast<std::size_t>(N));
  for (long n = 0; n < N; ++n) {
    if (tree) {
      if (parent[n] < -1 || parent[n] >= n) wrong(env, "earlier rows or -1", "parents");
      depth[static_cast<std::size_t>(n)] = parent[n] < 0 ? 1 : depth[static_cast<std::size_t>(parent[n])] + 1;
      stride = std::max(stride, depth[static_cast<std::size_t>(n)]);
      if (position[n] != prefix + depth[static_cast<std::size_t>(n)] - 1) wrong(env, "prefix plus depth", "positions");
    } else if (position[n] < 0 || position[n] >= prefix) {
      wrong(env, "positions below the prefix", "positions");
    }
  }
  if (tree) {
    paths.resize(static_cast<std::size_t>(N * stride));
    for (long n = 0; n < N; ++n) {
      long at = depth[static_cast<std::size_t>(n)];
      for (std::int32_t row = static_cast<std::int32_t>(n); row >= 0; row = parent[row])
        paths[static_cast<std::size_t>(n * stride + --at)] = row;
    }
  }
  const std::size_t page_bytes = kv_page_bytes(D, type);
  const auto tables = [&](const char* name, long tokens, std::vector<const std::byte*>* out) {
    const long pages = (tokens + kPageTokens - 1) / kPageTokens;
    const auto* base = static_cast<const std::byte*>(member(name, type, pages * G * 2 * kPageTokens * D));
    for (long p = 0; p < pages; ++p) out->push_back(base + static_cast<std::size_t>(p * G) * page_bytes);
  };
  std::vector<const std::byte*> pages, scratch;
  tables("pages", prefix, &pages);
  if (tree) tables("scratch", N, &scratch);
  const int threads = static_cast<int>(read_integer(from, "threads", 1));
  if (threads < 1 || threads > kMaxThreads) wrong(env, "1 to 256", "threads");
  const std::size_t work_bytes = (ops::attention_work_bytes(H, G, D) + 63) / 64 * 64;
  const Buffer work(work_bytes * static_cast<std::size_t>(threads));
  if (!work) throw_error(env, Status::kMemory, "Cannot allocate scratch memory");
  ops::AttentionArgs args{};
  args.q = static_cast<const float*>(member("q", DType::kF32, N * H * D));
  args.out = static_cast<float*>(member("out", DType::kF32, N * H * D));
  args.q_stride = args.out_stride = H * D;
  args.H = H;
  args.G = G;
  args.D = D;
  args.pages = pages.data();
  args.head_bytes = page_bytes;
  args.kv_type = type;
  args.position = position;
  args.prefix = prefix;
  args.scratch = scratch.data();
  args.path = paths.data();
  args.path_stride = stride;
  args.window = window;
  args.scale = static_cast<float>(read_number(from, "scale"));
  args.soft_cap = static_cast<float>(read_number(from, "softCap"));
  args.row_begin = 0;
  args.row_end = N;
  const Level level = read_level(info[1]);
  parallel(threads, [&](int index, int count) {
    const Share heads = share_of(G, index, count);
    if (heads.begin == heads.end) return;
    ops::AttentionArgs mine = args;
    mine.g_begin = heads.begin;
    mine.g_end = heads.end;
    mine.work = work.data() + work_bytes * static_cast<std::size_t>(index);
    ops::attention(mine, level);
  });
}

}  // namespace

void export_linear_ops(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("packWeights", pack_weights);
  add("gemm", gemm);
  add("embedding", embedding);
  add("kvWrite", kv_write);
  add("attention", attention);
}

}  // namespace outrider::binding

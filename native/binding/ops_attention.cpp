// Ops on KV pages.
#include <napi.h>

#include <algorithm>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "binding/args.h"
#include "ops/attention/attention.h"
#include "ops/kv_write/kv_write.h"

namespace outrider::binding {
namespace {

using Info = Napi::CallbackInfo;

constexpr long kMaxTokens = 1L << 31;

// (pages, type, G, D, token, key [G, D], value [G, D], level?): writes one token into pages [P, G, 2 * 64 * D].
void kv_write(const Info& info) {
  const DType type = read_float_type(info[1], "KV type");
  const long G = take_integer(info[2], "G", 1, 4096), D = take_integer(info[3], "D", 1, ops::kMaxHeadDim),
             token = take_integer(info[4], "token", 0, kMaxTokens);
  auto* pages =
      static_cast<std::byte*>(take_floats(info[0], type, (token / kPageTokens + 1) * G * 2 * kPageTokens * D, "pages"));
  const float* key = take_array<float>(info[5], G * D, "key");
  const float* value = take_array<float>(info[6], G * D, "value");
  const Level level = read_level(info[7]);
  for (long g = 0; g < G; ++g) {
    std::byte* page = pages + static_cast<std::size_t>(token / kPageTokens * G + g) * kv_page_bytes(D, type);
    ops::kv_write({page, type, D, token % kPageTokens, key + g * D, value + g * D}, level);
  }
}

// The ancestors of every row from the root down, and the row itself: [N, stride].
struct Paths {
  std::vector<std::int32_t> rows;
  long stride = 0;
};

// Checks the tree and that each row stands at prefix plus its depth.
Paths tree_paths(Napi::Env env, const std::vector<std::int32_t>& parents, const std::vector<std::int32_t>& positions,
                 long prefix) {
  const std::size_t N = parents.size();
  if (N > static_cast<std::size_t>(ops::kMaxTreeRows)) {
    throw_error(
        env, Status::kArgument,
        "Expected at most " + std::to_string(ops::kMaxTreeRows) + " rows in a tree, received " + std::to_string(N));
  }
  Paths paths;
  std::vector<long> depth(N);
  for (std::size_t n = 0; n < N; ++n) {
    const std::int32_t parent = parents[n];
    if (parent < -1 || parent >= static_cast<std::int32_t>(n)) wrong(env, "earlier rows or -1", "parents");
    depth[n] = parent < 0 ? 1 : depth[static_cast<std::size_t>(parent)] + 1;
    paths.stride = std::max(paths.stride, depth[n]);
    if (positions[n] != prefix + depth[n] - 1) wrong(env, "prefix plus depth", "positions");
  }
  paths.rows.resize(N * static_cast<std::size_t>(paths.stride));
  for (std::size_t n = 0; n < N; ++n) {
    std::int32_t* const path = paths.rows.data() + n * static_cast<std::size_t>(paths.stride);
    long at = depth[n];
    for (auto row = static_cast<std::int32_t>(n); row >= 0; row = parents[static_cast<std::size_t>(row)])
      path[--at] = row;
  }
  return paths;
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
      prefix > kMaxTokens || window < 0) {
    wrong(env, "dimensions in range", "attention");
  }
  const DType type = read_float_type(from.Get("kvType"), "KV type");
  const Level level = read_level(info[1]);
  const auto threads = static_cast<int>(read_integer(from, "threads", 1));
  if (threads < 1 || threads > kMaxThreads) wrong(env, "1 to 256", "threads");
  const bool tree = !absent(from.Get("parents"));
  const std::size_t page_bytes = kv_page_bytes(D, type);
  // Reading members may run JavaScript, so everything is read and copied before the first address is taken.
  const std::vector<std::int32_t> positions = copy_array<std::int32_t>(from.Get("positions"), N, "positions");
  std::vector<std::int32_t> parents;
  if (tree) parents = copy_array<std::int32_t>(from.Get("parents"), N, "parents");
  const Napi::Value q = from.Get("q"), out = from.Get("out"), kv = from.Get("pages"), own = from.Get("scratch");
  ops::AttentionArgs args{};
  args.scale = static_cast<float>(read_number(from, "scale"));
  args.soft_cap = static_cast<float>(read_number(from, "softCap"));
  args.q = take_array<float>(q, N * H * D, "q");
  args.out = take_array<float>(out, N * H * D, "out");
  const auto pages_of = [&](const Napi::Value& value, const char* name, long tokens) {
    const long count = (tokens + kPageTokens - 1) / kPageTokens;
    const auto* base = static_cast<const std::byte*>(take_floats(value, type, count * G * 2 * kPageTokens * D, name));
    std::vector<const std::byte*> pages(static_cast<std::size_t>(count));
    for (long p = 0; p < count; ++p)
      pages[static_cast<std::size_t>(p)] = base + static_cast<std::size_t>(p * G) * page_bytes;
    return pages;
  };
  const std::vector<const std::byte*> pages = pages_of(kv, "pages", prefix);
  std::vector<const std::byte*> scratch;
  if (tree) scratch = pages_of(own, "scratch", N);
  Paths paths;
  if (tree) {
    paths = tree_paths(env, parents, positions, prefix);
  } else {
    for (const std::int32_t position : positions) {
      if (position < 0 || position >= prefix) wrong(env, "positions below the prefix", "positions");
    }
  }
  const std::size_t work_bytes = ops::attention_work_bytes(N, H, G, D, tree);
  const Buffer work(work_bytes * static_cast<std::size_t>(threads));
  if (!work) throw_error(env, Status::kMemory, "Cannot allocate scratch memory");
  args.q_stride = args.out_stride = H * D;
  args.H = H;
  args.G = G;
  args.D = D;
  args.pages = pages.data();
  args.head_bytes = page_bytes;
  args.kv_type = type;
  args.position = positions.data();
  args.prefix = prefix;
  args.scratch = scratch.data();
  args.path = paths.rows.data();
  args.path_stride = paths.stride;
  args.window = window;
  args.query_begin = 0;
  args.query_end = N * (args.H / args.G);
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

void export_attention_ops(Napi::Env env, Napi::Object exports) {
  exports.Set("kvWrite", Napi::Function::New(env, kv_write, "kvWrite"));
  exports.Set("attention", Napi::Function::New(env, attention, "attention"));
}

}  // namespace outrider::binding

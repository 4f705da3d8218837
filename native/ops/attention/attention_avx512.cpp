#include "ops/attention/attention.h"
#ifdef __x86_64__
#include "cpu/begin_avx512.h"
#include "cpu/unroll.h"
#include "ops/attention/attention_state.h"
#include "ops/attention/attention_bf16.h"
#include "ops/attention/attention_walk.h"

// Only bf16 pages have a kernel of this level.
void attention(const ops::AttentionArgs& args) {
  if (args.kv_type == DType::kBF16) {
    walk<Bf16Blocks>(args);
  } else {
    avx512f::attention(args);
  }
}
void attention_merge(const ops::AttentionArgs& args) { merge_parts(args); }
#include "cpu/end.h"
#endif

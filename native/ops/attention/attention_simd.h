// The vector body, included inside a level's region by attention_avx2.cpp and attention_avx512f.cpp, which define
// kTile.
#include "ops/attention/attention_state.h"
#include "ops/attention/attention_float.h"
#include "ops/attention/attention_walk.h"

void attention(const ops::AttentionArgs& args) { walk_type<FloatBlocks>(args); }
void attention_merge(const ops::AttentionArgs& args) { merge_parts(args); }

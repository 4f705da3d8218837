// Keys and values into KV pages: rounds and places, nothing else.
//
//   page[key channel d of slot]   = round(key[d])         page[value channel d of slot] = round(value[d])
//
// Source: formats/kv_page.h for the layout; rounding to the page's type is to nearest, ties to even, NaN stays NaN.
// Dims:   D head size.
#pragma once

#include "base/dtype.h"
#include "cpu/level.h"
#include "formats/kv_page.h"

namespace outrider::ops {

struct KvWriteArgs {
  std::byte* page;  // of one KV head
  DType type;       // kF32, kF16 or kBF16
  long D;
  long slot;           // 0 .. 63
  const float* key;    // [D], rotated; null: not written
  const float* value;  // [D]; null: not written
};

// Overwrites the slot's places alone. Reentrant for different slots and for the two halves of one.
void kv_write(const KvWriteArgs& args, Level level);
unsigned kv_write_levels();

}  // namespace outrider::ops

#define OUTRIDER_DECLARE(level)                \
  namespace outrider::level {                  \
  void kv_write(const ops::KvWriteArgs& args); \
  }
OUTRIDER_DECLARE(ref)
OUTRIDER_DECLARE(avx2)
OUTRIDER_DECLARE(avx512f)
#undef OUTRIDER_DECLARE

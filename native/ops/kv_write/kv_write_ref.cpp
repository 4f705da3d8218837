#include "ops/kv_write/kv_write.h"

namespace outrider::ref {

void kv_write(const ops::KvWriteArgs& args) {
  for (long d = 0; d < args.D; ++d) {
    if (args.key != nullptr) {
      store_float(args.page, args.type, kv_key_index(args.type, args.D, d, args.slot), args.key[d]);
    }
    if (args.value != nullptr) {
      store_float(args.page, args.type, kv_value_index(args.type, args.D, args.slot, d), args.value[d]);
    }
  }
}

}  // namespace outrider::ref

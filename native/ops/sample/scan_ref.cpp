#include "ops/sample/scan.h"
#include "cpu/unroll.h"

namespace outrider::ref {
#include "ops/sample/scan_body.h"
}  // namespace outrider::ref

#include "ops/sample/scan.h"

namespace outrider::ref {
#include "ops/sample/scan_body.h"
}  // namespace outrider::ref

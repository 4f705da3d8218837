#include "ops/sample/scan.h"
#ifdef __x86_64__
#include "cpu/begin_avx2.h"
#include "ops/sample/scan_body.h"
#include "cpu/end.h"
#endif

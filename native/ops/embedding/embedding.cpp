#include "ops/embedding/embedding.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const EmbeddingArgs&)> kKernels[] = {{Level::kRef, ref::embedding}};

}  // namespace

void embedding(const EmbeddingArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned embedding_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops

// One matrix or vector from the bytes of a file to the form the kernels read.
#pragma once

#include <vector>

#include "model/weights.h"

namespace outrider {

// Checks that every span of the source lies in its file and has the size its shape asks for.
Result check_source(const std::vector<ModelFile>& files, const MatrixSource& source, const char* name);

// Packs panels in parallel, in slices of about a millisecond between which generations get their turn and `abort` is
// polled. Scales stay f16 where every scale and zero of the matrix is an f16, else all become f32. Zeros are left out
// where all of them are the same multiple of their scales: always for some GGUF types, and for the symmetric codes of
// affine folders, where zero = -2^(bits - 1) scale.
Result pack_matrix(const std::vector<ModelFile>& files, const MatrixSource& source, const char* name,
                   const LoadControl& control, Arena* arena, Matrix* out);

// Bytes that the matrix takes when packed, unless its scales turn out to need f32 or its zeros to be stored.
std::size_t packed_bytes(const MatrixSource& source);

Result read_vector(const std::vector<ModelFile>& files, const VectorSource& source, const char* name,
                   std::vector<float>* out);

// Bytes of the source as stored, for progress.
std::size_t source_bytes(const MatrixSource& source);

}  // namespace outrider

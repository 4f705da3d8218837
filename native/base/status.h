// What a kernel or a model operation reports. Kernels never throw, print or abort; native/binding turns a Status
// into an OutriderError (lib/errors.ts lists the codes).
#pragma once

#include <string>
#include <utility>

namespace outrider {

enum class Status : int {
  kOk = 0,
  kArgument,     // a value outside its documented range          OUTRIDER_ARGUMENT
  kShape,        // dimensions that do not fit together           OUTRIDER_SHAPE
  kFormat,       // a file or snapshot that is damaged            OUTRIDER_FORMAT
  kUnsupported,  // a combination that is not built               OUTRIDER_UNSUPPORTED
  kIo,           // the operating system refused                  OUTRIDER_IO
  kMemory,       // an allocation failed                          OUTRIDER_MEMORY
  kContext,      // more tokens than the context length           OUTRIDER_CONTEXT
  kSnapshot,     // a KV snapshot of another model, or a bad one  OUTRIDER_SNAPSHOT
  kBusy,         // a sequence that another job is using          OUTRIDER_BUSY
  kDisposed,     // an object that was disposed                   OUTRIDER_DISPOSED
  kAborted,      // the caller asked to stop
  kInternal,     // a broken invariant of outrider                OUTRIDER_INTERNAL
};

// A Status with the words for the user, for operations that are not kernels.
struct Result {
  Status status = Status::kOk;
  std::string message;

  [[nodiscard]] bool ok() const { return status == Status::kOk; }
  static Result error(Status status, std::string message) { return {status, std::move(message)}; }
};

}  // namespace outrider

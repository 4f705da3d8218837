// Where the time of a step goes, thread by thread. Off unless asked for; then every span costs two clock readings.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace outrider {

enum class Phase : std::uint8_t {
  kEmbedding,
  kPrepare,  // norm and rounding of a layer's input
  kQkv,      // query, key and value projections, rotation, KV append
  kAttention,
  kOutput,  // attention output projection and residual
  kGateUp,  // gate and up projections, activation function
  kDown,    // down projection and residual
  kHead,    // final norm, logits
  kSample,  // what the rows wanted of their logits
  kWait,    // for other threads
};
constexpr int kPhases = 10;
const char* phase_name(Phase phase);

struct ProfileSpan {
  Phase phase;
  std::int16_t layer;  // -1: none
  std::int16_t thread;
  std::int64_t begin, end;  // nanoseconds of a steady clock
};

// Spans are kept until taken, at most about two million.
class Profile {
 public:
  static bool enabled() { return enabled_.load(std::memory_order_relaxed); }
  static void enable(bool on) { enabled_ = on; }
  static void add(const ProfileSpan& span);
  static std::vector<ProfileSpan> take();
  static std::int64_t now();

 private:
  static std::atomic<bool> enabled_;
};

// Adds the time from its construction to its end to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double* seconds) : seconds_(seconds), begin_(Profile::now()) {}
  ~Stopwatch() { *seconds_ += static_cast<double>(Profile::now() - begin_) * 1e-9; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double* seconds_;
  std::int64_t begin_;
};

// Records the time from its construction to its end.
class Timed {
 public:
  Timed(Phase phase, long layer, int thread)
      : span_{phase, static_cast<std::int16_t>(layer), static_cast<std::int16_t>(thread),
              Profile::enabled() ? Profile::now() : 0, 0} {}
  ~Timed() {
    if (span_.begin == 0) return;
    span_.end = Profile::now();
    Profile::add(span_);
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  ProfileSpan span_;
};

}  // namespace outrider

// How fast this machine reads memory: the yardstick of decode speed.
#pragma once

namespace outrider {

// Gigabytes (1e9) per second that `threads` threads read together from a block far larger than the caches; the best of
// a few passes over about 0.3 s. 0 if the block cannot be allocated.
double probe_bandwidth(int threads);

}  // namespace outrider

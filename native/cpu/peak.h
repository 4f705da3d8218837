// How many multiply-accumulates this machine does when nothing else is in the way: the yardsticks of prefill speed.
#pragma once

namespace outrider {

// Billions (1e9) of multiply-accumulates per second that `threads` threads do together with the best instruction of
// vectors that the chosen level has for each (tiles of AMX do more): vpdpbusd (or vpmaddubsw with sums in 16 bits),
// vdpbf16ps, fused multiply-add. 0 where it has none. About 0.1 s each.
double probe_int8_peak(int threads);
double probe_bf16_peak(int threads);
double probe_f32_peak(int threads);

}  // namespace outrider

// How many multiply-accumulates this machine does when nothing else is in the way: the yardstick of prefill speed.
#pragma once

namespace outrider {

// Billions (1e9) of int8 multiply-accumulates per second that `threads` threads do together with the best dot-product
// instruction outrider uses (vpdpbusd, or vpmaddubsw with its widening steps); 0 on machines without vectors. About 0.1
// s.
double probe_int8_peak(int threads);

}  // namespace outrider

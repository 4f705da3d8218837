// Closes the region opened by a cpu/begin_LEVEL.h.
}  // namespace of the level

#undef OUTRIDER_HAS_VNNI
#undef OUTRIDER_HAS_BF16
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

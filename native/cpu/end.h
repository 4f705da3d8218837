// Closes the region opened by cpu/begin_avx2.h or cpu/begin_avx512.h.
#if defined(OUTRIDER_LEVEL_AVX2)
}  // namespace outrider::avx2
#undef OUTRIDER_LEVEL_AVX2
#elif defined(OUTRIDER_LEVEL_AVX512)
}  // namespace outrider::avx512
#undef OUTRIDER_LEVEL_AVX512
#endif

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

// The tile registers of AMX: eight of up to 16 rows of 64 bytes. Included by the region header of its level, inside its
// namespace. As assembly, because the compiler's own functions do not say that they read and write memory.

// Rows and bytes of a row of each register; palette 1 is the one there is.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, unused[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// All registers become 0.
static inline void tile_shapes(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); }
// Until then the operating system saves 8 KiB more whenever it stops the thread.
static inline void tile_release() { __asm__ volatile("tilerelease"); }

template <int kTile>
static inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
static inline void tile_load(const void* from, long stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
static inline void tile_store(void* to, long stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}
// sum[r][c] += the products of four bytes each: signed of s[r][4 k ..], unsigned of u[k][4 c ..], over all k.
template <int kSum, int kSigned, int kUnsigned>
static inline void tile_dot4() {
  __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kSigned), "i"(kUnsigned));
}
// sum[r][c] += the products of two bf16 each, x[r][2 k ..] and w[k][2 c ..], over all k; subnormals count as 0.
template <int kSum, int kX, int kW>
static inline void tile_dot2() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kX), "i"(kW));
}

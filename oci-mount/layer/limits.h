// What a layer may hold at most, beside what names and paths may be (base/path_rules.h). Each error that
// comes of one names it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace layerboot::layer {

inline constexpr std::uint64_t kMaxStreamBytes = 64ULL << 30U;  // one layer, uncompressed
inline constexpr std::uint64_t kMaxImageBytes = 256ULL << 30U;  // all layers of one image, uncompressed
/// Beyond the free bytes, bytes a layer may unpack to for one stored: deflate can't give more than 1032, zstd
/// 32768.
inline constexpr std::uint64_t kMaxCompressionRatio = 1100;
inline constexpr std::uint64_t kCompressionRatioFreeBytes = 1ULL << 30U;
inline constexpr std::uint32_t kMaxEntries = 4'000'000;            // one layer
inline constexpr std::size_t kMaxSparseExtents = 65536;            // of one file
inline constexpr std::uint64_t kMaxEntryTableBytes = 1ULL << 30U;  // entries of one layer, as kept

inline constexpr std::size_t kMaxGzipHeaderBytes = 128U << 10U;  // extra field, name and comment
/// Members that may follow each other without giving a byte.
inline constexpr std::uint32_t kMaxEmptyMembers = 1'000'000;

/// Of zstd, as a power of two: 128 MiB, what zstd itself takes unasked.
inline constexpr int kMaxZstdWindowLog = 27;
/// A zstd layer with larger frames is recut (zstd_scanner.h).
inline constexpr std::uint64_t kMaxZstdFrameBytes = 4U << 20U;

/// Checkpoints are set at the first block boundary this far from the last one.
inline constexpr std::uint64_t kSpanTargetBytes = 256U << 10U;
/// Those of a plain tar lie on a grid.
inline constexpr std::uint64_t kPlainSpanBytes = 256U << 10U;
/// Windows may weigh a fiftieth of the layer, and the free bytes. Of a layer whose windows weigh more,
/// checkpoints are set further apart, up to the widest target: there no window can be too heavy.
inline constexpr std::uint64_t kMinStreamBytesPerWindowByte = 50;
inline constexpr std::uint64_t kWindowsFreeBytes = 64U << 10U;
inline constexpr std::uint64_t kWidestSpanTargetBytes = 2U << 20U;
/// A deflate block that gives more than this is refused: no checkpoint can be set within one.
inline constexpr std::uint64_t kMaxSpanBytes = 32U << 20U;
/// Compressed bytes of one span: stored blocks add little, empty blocks and members could add any amount.
inline constexpr std::uint64_t kMaxSpanBlobBytes = 64U << 20U;

/// What indexing one layer may take: address space (the program's own counted), processor time, a file's
/// size.
inline constexpr std::uint64_t kMaxIndexingMemoryBytes = 3ULL << 30U;
inline constexpr std::uint64_t kMaxIndexingCpuSeconds = 7200;
inline constexpr std::uint64_t kMaxIndexFileBytes = kMaxStreamBytes + (1ULL << 30U);

}  // namespace layerboot::layer

// What the tables of damages (check_damages*.cc) are written with: small images, and how they are
// damaged.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "formats/qcow2/l2_entry.h"
#include "tests/formats/qcow2/check_damages.h"
#include "tests/formats/qcow2/check_fixture.h"

namespace qcowkit::qcow2::test {

inline constexpr std::uint64_t kCopied = RawL2Entry::kCopied;
inline constexpr std::uint64_t kZero = RawL2Entry::kZero;
inline constexpr std::uint64_t kFar = std::uint64_t{1} << 40;  // far behind every test image's end
inline constexpr ImageShape kVersion2{.version = 2};
inline constexpr ImageShape kExtended{.cluster_bits = 14, .extended_l2 = true};
inline constexpr ImageShape kDataFile{.data_file = true};
inline constexpr ImageShape kOneBit{.refcount_order = 0};
inline constexpr ImageShape kTwoBits{.refcount_order = 1};
inline constexpr ImageShape kWide{.refcount_order = 6};

/// Guest clusters 0 to 9 and 70 to 73, in two L2 tables (with 512-byte clusters).
SmallImage plain_image(const ImageShape& shape = {});
/// The same with a snapshot between clusters 4 and 5 on the one hand and the rest on the other.
SmallImage snapshot_image(const ImageShape& shape = {});
/// Guest clusters 0 to 9, whose L2 table a snapshot shares.
SmallImage shared_table_image(const ImageShape& shape = {});
/// Guest clusters 0 to 3, of which 1 and 2 are compressed.
SmallImage compressed_image(const ImageShape& shape = {});
/// Guest clusters 0 to 3, a bitmap and an encryption header.
SmallImage bitmap_image(const ImageShape& shape = {});

using Change = void (*)(SmallImage&);

/// What makes an image and then changes it.
std::function<SmallImage()> damaged(SmallImage (*make)(const ImageShape&), const ImageShape& shape,
                                    Change change);
/// The same with a plain image.
std::function<SmallImage()> damaged(Change change);
/// The same with an image that has a snapshot.
std::function<SmallImage()> with_snapshot(Change change);

// The parts of the table `damages()`, each by what is damaged.
void add_refcount_damages(std::vector<Damage>& all);
void add_refcount_block_damages(std::vector<Damage>& all);
void add_l1_damages(std::vector<Damage>& all);
void add_l2_damages(std::vector<Damage>& all);
void add_compressed_and_extended_damages(std::vector<Damage>& all);
void add_snapshot_damages(std::vector<Damage>& all);
void add_bitmap_and_encryption_damages(std::vector<Damage>& all);
void add_feature_bits(std::vector<Damage>& all);

}  // namespace qcowkit::qcow2::test

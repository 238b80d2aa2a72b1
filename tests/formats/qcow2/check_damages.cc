#include "tests/formats/qcow2/check_damages.h"

#include "tests/formats/qcow2/check_damage_parts.h"

namespace qcowkit::qcow2::test {

const std::vector<Damage>& damages() {
  static const std::vector<Damage> all = [] {
    std::vector<Damage> list;
    add_refcount_damages(list);
    add_refcount_block_damages(list);
    add_l1_damages(list);
    add_l2_damages(list);
    add_compressed_and_extended_damages(list);
    add_snapshot_damages(list);
    add_bitmap_and_encryption_damages(list);
    add_feature_bits(list);
    return list;
  }();
  return all;
}

}  // namespace qcowkit::qcow2::test

// An image side by side with what it, and each of its snapshots, must hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "tests/image/life_step.h"

namespace qcowkit::test {

/// What image a life is spent on.
struct LifeConfig {
  CreateOptions create;                  ///< without references to other files
  std::uint64_t backing_size_bytes = 0;  ///< 0: no backing file
  std::uint64_t backing_content = 0;
  bool data_file = false;
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t refcount_cache_bytes = 0;
  std::uint32_t overlap_checks = overlap::kCached;
};
std::string describe(const LifeConfig& config);

/// Functions return what is wrong, if anything is.
class LifeDisk {
 public:
  LifeDisk(const LifeConfig& config, std::string folder);

  std::optional<std::string> apply(const LifeStep& step);
  /// Examines everything for the last time and closes the image.
  std::optional<std::string> finish();
  /// What `qemu-img` finds wrong, if anything: with the image, the disk, and each snapshot of the
  /// disk's size. After `finish`.
  std::optional<std::string> ask_reference() const;

 private:
  /// What a guest, and a machine that keeps its state, have stored.
  struct Held {
    std::vector<std::byte> disk;
    std::vector<std::byte> vm_state;  ///< zeroes behind it
  };
  struct Snapshot {
    std::string id;
    std::uint64_t vm_state_size_bytes = 0;
    Held held;
  };
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t length = 0;
  };

  void create_backing();
  OpenOptions open_options(bool read_only) const;
  void open() { image_ = Image::open(path_, open_options(false)); }
  std::uint64_t cluster() const { return cluster_bytes_; }
  bool is_encrypted() const { return config_.create.encryption != EncryptionFormat::none; }
  std::vector<std::byte> empty_disk(std::uint64_t size_bytes) const;
  Range draw_range(const LifeStep& step) const;

  void write(const LifeStep& step);
  void write_compressed(const LifeStep& step);
  void discard(const LifeStep& step);
  void write_vm_state(const LifeStep& step);
  void create_snapshot(const LifeStep& step);
  void apply_snapshot(const LifeStep& step);
  void delete_snapshot(const LifeStep& step);
  void resize(const LifeStep& step, bool grows);
  void amend_version();
  void amend_refcount_bits(const LifeStep& step);
  void amend_lazy_refcounts();
  void amend_backing_name(const LifeStep& step);
  void turn_read_only_and_back();
  void change(const LifeStep& step);

  bool can_change_to_version_2() const;
  /// Refcounts of few bits may be too small for what is asked.
  bool may_exceed_limit(std::uint32_t refcount_bits) const { return refcount_bits < 16; }

  std::optional<std::string> compare_held(Image& image, const Held& held) const;
  std::optional<std::string> compare_snapshots() const;
  std::optional<std::string> check(bool leaks_are_errors);
  std::optional<std::string> compare_options() const;
  std::optional<std::string> examine(bool leaks_are_errors);

  const LifeConfig config_;
  const std::string folder_;
  const std::string path_;
  const std::uint64_t cluster_bytes_;
  std::vector<std::byte> backing_;  // what the backing file has
  std::unique_ptr<Image> image_;

  Held now_;
  std::vector<Snapshot> snapshots_;
  std::uint32_t version_;
  std::uint32_t refcount_bits_;
  bool lazy_refcounts_;
  std::string backing_name_;
};

}  // namespace qcowkit::test

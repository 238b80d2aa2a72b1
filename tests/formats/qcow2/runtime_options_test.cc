// What whoever opens an image chooses, whatever its header says.
#include <chrono>
#include <thread>

#include "storage/forwarding_storage.h"
#include "tests/formats/qcow2/layer_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using test::field_of;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kIncompatibleFeatures = 72;

/// Counts what arrives.
class Counting final : public ForwardingStorage {
 public:
  explicit Counting(std::shared_ptr<Storage> behind)
      : ForwardingStorage(std::make_unique<test::FaultStorage>(std::move(behind))) {}
  void readv(std::uint64_t at, std::span<const iovec> into) override {
    ++reads;
    ForwardingStorage::readv(at, into);
  }
  void discard(std::uint64_t at, std::uint64_t bytes) override {
    discarded_bytes += bytes;
    ForwardingStorage::discard(at, bytes);
  }
  int reads = 0;
  std::uint64_t discarded_bytes = 0;
};

class RuntimeOptions : public testing::Test {
 protected:
  void open(const MetadataOptions& metadata, const test::EngineOptions& options = {}) {
    if (image_ == nullptr) image_ = test::make_engine_image(options);
    auto storage = std::make_unique<Counting>(image_);
    storage_ = storage.get();
    LayerOptions layer_options;
    layer_options.read_only = false;
    layer_options.metadata = metadata;
    layer_ = std::make_unique<Qcow2Layer>(std::move(storage), nullptr,
                                          Qcow2Layer::read_header(*image_), layer_options);
  }
  void write(std::uint64_t at, std::uint64_t bytes) {
    layer_->write({at}, test::make_content(1, bytes));
  }
  bool is_dirty() { return (field_of(*image_, kIncompatibleFeatures) & 1) != 0; }

  std::shared_ptr<MemoryStorage> image_;
  Counting* storage_ = nullptr;
  std::unique_ptr<Qcow2Layer> layer_;
};

// --- Lazy refcounts ----------------------------------------------------------------------------

TEST_F(RuntimeOptions, LazyRefcountsWithoutTheHeadersBitUseTheDirtyBit) {
  open({.lazy_refcounts = true});
  write(0, kCluster);
  layer_->flush();
  EXPECT_TRUE(is_dirty());
  EXPECT_FALSE(Qcow2Layer::read_header(*image_).lazy_refcounts());
  EXPECT_EQ(test::refcount_on_disk(*image_, layer_->map({0}, 1).host_offset), 0u);
  layer_->close();
  EXPECT_FALSE(is_dirty());
  open({});
  EXPECT_EQ(layer_->check({}).corruptions, 0u);
}

TEST_F(RuntimeOptions, LazyRefcountsOfTheHeaderCanBeOff) {
  open({.lazy_refcounts = false}, {.lazy_refcounts = true});
  write(0, kCluster);
  layer_->flush();
  EXPECT_FALSE(is_dirty());
  EXPECT_TRUE(Qcow2Layer::read_header(*image_).lazy_refcounts());
  EXPECT_EQ(test::refcount_on_disk(*image_, layer_->map({0}, 1).host_offset), 1u);
}

TEST_F(RuntimeOptions, WithoutTheOptionTheHeaderDecides) {
  open({}, {.lazy_refcounts = true});
  write(0, kCluster);
  layer_->flush();
  EXPECT_TRUE(is_dirty());
}

TEST_F(RuntimeOptions, LazyRefcountsStayOffInVersion2) {
  open({.lazy_refcounts = true}, {.version = 2});
  write(0, kCluster);
  layer_->flush();
  EXPECT_EQ(test::refcount_on_disk(*image_, layer_->map({0}, 1).host_offset), 1u);
}

// --- Discards ----------------------------------------------------------------------------------

struct DiscardCase {
  const char* name;
  DiscardPassThrough by_itself;  ///< only this kind is passed on
  void (*free)(Qcow2Layer& layer);
};

void free_by_request(Qcow2Layer& layer) { layer.discard({0}, 4 * kCluster); }
void free_by_zeroes(Qcow2Layer& layer) { layer.write_zeroes({0}, 4 * kCluster, true); }
void free_by_snapshot(Qcow2Layer& layer) {
  layer.create_snapshot({.name = "one"});
  layer.write({0}, test::make_content(2, 4 * kCluster));
  layer.flush();
  layer.delete_snapshot({{}, "one"});
}
void free_by_other(Qcow2Layer& layer) {
  const std::vector<std::byte> plain(kCluster, std::byte{3});
  for (std::uint64_t at = 0; at < 4 * kCluster; at += kCluster) {
    layer.write_compressed({at}, layer.compress(plain, 0), plain);
  }
}

class PassedDiscards : public RuntimeOptions, public testing::WithParamInterface<DiscardCase> {
 protected:
  std::uint64_t discarded_with(const DiscardPassThrough& pass) {
    image_ = nullptr;
    open({.discard_pass_through = pass});
    write(0, 4 * kCluster);
    layer_->flush();
    GetParam().free(*layer_);
    layer_->close();
    return storage_->discarded_bytes;
  }
};

TEST_P(PassedDiscards, FollowWhatFreedTheCluster) {
  const DiscardPassThrough only = GetParam().by_itself;
  EXPECT_GE(discarded_with(only), 4 * kCluster);
  EXPECT_GE(discarded_with({true, true, true}), 4 * kCluster);
  // The tables that such changes replace are somebody else's matter.
  const DiscardPassThrough without = {!only.request, !only.snapshot, !only.other};
  EXPECT_LT(discarded_with(without), 4 * kCluster);
  EXPECT_EQ(discarded_with({false, false, false}), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PassedDiscards,
    testing::Values(DiscardCase{"Discard", {true, false, false}, free_by_request},
                    DiscardCase{"ZeroesThatUnmap", {true, false, false}, free_by_zeroes},
                    DiscardCase{"Snapshot", {false, true, false}, free_by_snapshot},
                    DiscardCase{"Overwritten", {false, false, true}, free_by_other}),
    [](const auto& which) { return std::string(which.param.name); });

// --- Caches ------------------------------------------------------------------------------------

TEST_F(RuntimeOptions, IdleCachesAreGivenBackWhenTheImageIsUsedNext) {
  open({.cache_clean_interval_seconds = 1});
  write(0, kCluster);
  write(3 << 20, kCluster);
  layer_->flush();
  const int before = storage_->reads;
  layer_->map({0}, 1);
  layer_->map({3 << 20}, 1);
  EXPECT_EQ(storage_->reads, before);
  // The first round takes note of what is used, the second drops the rest.
  for (int round = 0; round < 2; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    layer_->map({0}, 1);
  }
  layer_->map({3 << 20}, 1);
  EXPECT_GT(storage_->reads, before);
  EXPECT_EQ(layer_->check({}).corruptions, 0u);
}

TEST_F(RuntimeOptions, CacheEntriesMayBeAsSmallAsASector) {
  open({.l2_cache_entry_bytes = 512});
  write(0, kCluster);
  write(100 * kCluster, kCluster);  // in another entry of the same table
  layer_->close();
  open({.l2_cache_entry_bytes = 512});
  const int before = storage_->reads;
  layer_->map({0}, 1);
  layer_->map({100 * kCluster}, 1);
  EXPECT_EQ(storage_->reads, before + 2);
}

// --- Zeroes by metadata alone ------------------------------------------------------------------

class TryZeroes : public test::LayerTest {
 protected:
  using test::LayerTest::LayerTest;
  bool zeroes_without_writing(std::uint64_t at, std::uint64_t bytes) {
    const std::uint64_t before = plan_->count(test::kChanges);
    const std::vector<std::byte> old = read(at, bytes);
    const bool done = layer_->try_write_zeroes({at}, bytes, false);
    EXPECT_EQ(plan_->count(test::kChanges), before);
    EXPECT_EQ(read(at, bytes), done ? zeroes(bytes) : old);
    return done;
  }
};

TEST_F(TryZeroes, WholeClustersAreZeroedByTheirEntries) {
  write(0, 3, 4 * cluster_);
  write_compressed(8 * cluster_, 4);
  layer_->flush();
  EXPECT_TRUE(zeroes_without_writing(0, 2 * cluster_));
  EXPECT_TRUE(zeroes_without_writing(8 * cluster_, cluster_));
  EXPECT_TRUE(zeroes_without_writing(20 * cluster_, 3 * cluster_));
}

TEST_F(TryZeroes, PartsOfClustersThatHoldDataAreRefused) {
  write(0, 3, 4 * cluster_);
  write_compressed(8 * cluster_, 4);
  layer_->flush();
  EXPECT_FALSE(zeroes_without_writing(0, 512));
  EXPECT_FALSE(zeroes_without_writing(512, 2 * cluster_));
  EXPECT_FALSE(zeroes_without_writing(cluster_, 2 * cluster_ + 1));
  EXPECT_FALSE(zeroes_without_writing(8 * cluster_, 100));
}

TEST_F(TryZeroes, PartsOfWhatIsZeroAlreadyNeedNothing) {
  write(0, 3, cluster_);
  layer_->flush();
  EXPECT_TRUE(zeroes_without_writing(cluster_ + 100, 200));
  EXPECT_TRUE(zeroes_without_writing(cluster_ + 100, 3 * cluster_));
}

class TryZeroesVersion2 : public TryZeroes {
 protected:
  TryZeroesVersion2() : TryZeroes({.version = 2}) {}
};

TEST_F(TryZeroesVersion2, IsRefusedWithoutAZeroFlag) {
  write(0, 3, cluster_);
  EXPECT_FALSE(layer_->try_write_zeroes({0}, cluster_, true));
  EXPECT_FALSE(layer_->try_write_zeroes({2 * cluster_}, cluster_, false));
}

class TryZeroesExtended : public TryZeroes {
 protected:
  TryZeroesExtended() : TryZeroes({.cluster_size = 16384, .extended_l2 = true}) {}
};

TEST_F(TryZeroesExtended, SubclustersSufficeUnlessTheClusterIsCompressed) {
  write(0, 3, cluster_);
  write_compressed(cluster_, 4);
  layer_->flush();
  EXPECT_TRUE(zeroes_without_writing(512, 1024));
  EXPECT_FALSE(zeroes_without_writing(700, 1024));
  EXPECT_FALSE(zeroes_without_writing(cluster_ + 512, 512));
  EXPECT_FALSE(zeroes_without_writing(0, cluster_ + 512));
  EXPECT_TRUE(zeroes_without_writing(0, 2 * cluster_));
}

}  // namespace
}  // namespace qcowkit::qcow2

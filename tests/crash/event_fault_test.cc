// Each event of the engine, and a request that fails right after it: by the rules of blkdebug, at
// the first time that the event comes, the second, and so on. The failure is reported, what was
// flushed stays, nothing is corrupt, and the image goes on being usable.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/blkdebug.h"
#include "tests/crash/image_files.h"
#include "tests/crash/life_state.h"
#include "tests/crash/requests.h"
#include "tests/support/guest_model.h"
#include "tests/support/sanitized.h"

namespace qcowkit::test {
namespace {

/// How often each event has come.
class EventCounter final : public EventListener {
 public:
  void on_event(Event event, std::uint64_t, std::uint64_t) noexcept override {
    ++counts_[static_cast<std::size_t>(event)];
  }
  int count(Event event) const { return counts_[static_cast<std::size_t>(event)]; }

 private:
  std::array<std::atomic<int>, kEventCount> counts_{};
};

/// Those that the storage comes to by itself, without telling.
bool is_of_storage(Event event) {
  return event >= Event::pwritev_rmw_head && event <= Event::pwritev_done;
}

/// Those that this engine has no such point for: see docs/events.md.
bool is_never_raised(Event event) {
  return event == Event::refblock_update || event == Event::cor_write;
}

/// A failure at the `at`-th time that an event comes.
BlkdebugOptions failing_once(Event event, int at, int errno_value, std::uint64_t align) {
  BlkdebugOptions options;
  options.align = align;
  for (int state = 1; state < at; ++state) {
    const auto now = static_cast<std::uint32_t>(state);
    options.set_state.push_back({event, now, now + 1});
  }
  BlkdebugInjectError error{.event = event};
  error.state = static_cast<std::uint32_t>(at);
  error.errno_value = errno_value;
  error.once = true;
  options.inject_error.push_back(error);
  return options;
}

/// What one run does to an image, and what its guest may find.
class DisturbedUse {
 public:
  DisturbedUse(const Shape& shape, const ImageFiles& start, const GuestModel& model)
      : shape_(shape), files_(start.clone()), model_(model) {}

  /// Returns whether any call has failed.
  bool go(const BlkdebugOptions& options) {
    auto storage = make_blkdebug(share(files_.image), options);
    storage->set_listener(&counter_);
    step("open", [&] {
      image_ = std::make_unique<OpenedImage>(shape_, std::move(storage), nullptr,
                                             OpenedImage::Mode::read_write);
    });
    if (image_) change_everything();
    image_.reset();
    judge();
    return failed_;
  }
  const EventCounter& counter() const { return counter_; }

 private:
  Layer& layer() { return image_->layer(); }

  /// Makes a call. If it fails, what the guest reads tells how far it has come.
  void step(const char* name, const std::function<void()>& call) {
    SCOPED_TRACE(name);
    try {
      call();
    } catch (const Error& error) {
      EXPECT_FALSE(error.message().empty());
      failed_ = true;
      if (image_) settle();
    }
  }
  void settle() {
    try {
      std::vector<std::byte> disk = image_->read_all();
      disk.resize(model_.size());
      EXPECT_EQ(model_.settle(disk), std::nullopt);
    } catch (const Error& error) {
      ADD_FAILURE() << "the disk cannot be read: " << error.what();
    }
  }
  void request(Request::Kind kind, std::uint64_t offset = 0, std::uint64_t bytes = 0,
               bool may_unmap = false) {
    const Request what{kind, offset, bytes, may_unmap, offset + bytes};
    step(to_string(what).c_str(), [&] { perform(what, shape_, layer(), model_); });
  }
  void read(std::uint64_t offset, std::uint64_t bytes) {
    step("read", [&] {
      std::vector<std::byte> into(bytes);
      layer().read({offset}, into);
      EXPECT_TRUE(std::ranges::equal(into, model_.content().subspan(offset, bytes)));
    });
  }

  void change_everything() {
    using Kind = Request::Kind;
    const std::uint64_t c = shape_.cluster_size();
    for (const std::uint64_t at : {0 * c, 8 * c, 10 * c + 5, 40 * c}) read(at, c);
    request(Kind::write, 3 * c + 10, 100);   // in place
    request(Kind::write, 20 * c + 10, 100);  // allocating
    request(Kind::flush);
    request(Kind::write, 10 * c + 5, 50);  // over a compressed cluster
    request(Kind::write_compressed, 30 * c, c);
    request(Kind::write_zeroes, 4 * c + 7, 2 * c, true);
    request(Kind::discard, 2 * c, 2 * c);
    request(Kind::flush);
    request(Kind::flush);
    request(Kind::write, 2 * c + 9, c);  // into clusters that were free
    take_and_drop_snapshot();
    change_size();
    request(Kind::write, 70 * c, 9 * c);
    request(Kind::flush);
    step("make_empty", [&] {
      if (shape_.has_backing()) return;
      model_.begin(0, std::vector<std::byte>(model_.size()));
      layer().make_empty();
      model_.acknowledge();
      model_.flushed();
    });
    request(Kind::write, 5 * c, 100);
    step("close", [&] {
      layer().close();
      model_.flushed();
    });
  }

  void take_and_drop_snapshot() {
    const std::uint64_t c = shape_.cluster_size();
    step("write_vm_state", [&] { layer().write_vm_state(0, recognisable_bytes(6, 0, 2 * c)); });
    step("read_vm_state", [&] {
      std::vector<std::byte> state(c);
      layer().read_vm_state(0, state);
    });
    step("create_snapshot", [&] {
      Image::NewSnapshot snapshot;
      snapshot.name = "one";
      snapshot.vm_state_size_bytes = c;
      layer().create_snapshot(snapshot);
    });
    request(Request::Kind::write, 2 * c + 100, 2 * c);  // what both have
    request(Request::Kind::flush);
    step("delete_snapshot", [&] { layer().delete_snapshot({{}, "one"}); });
  }

  void change_size() {
    const std::uint64_t size = layer().virtual_size();
    // Of small clusters, more than the refcount table has entries for.
    const std::uint64_t more = (shape_.has_backing() ? 50 : 4200) * shape_.cluster_size();
    step("grow", [&] { layer().resize(size + 2 * more, {}); });
    step("fill", [&] {
      if (layer().virtual_size() == size) return;  // it did not grow
      layer().write({size + shape_.cluster_size()}, std::vector<std::byte>(more, std::byte{1}));
      layer().flush();
    });
    step("shrink", [&] {
      layer().resize(size, {Preallocation::off, true});
      model_.flushed();
    });
  }

  void judge() {
    if (!is_marked_dirty(files_)) {
      EXPECT_EQ(corruption_in(shape_, files_), std::nullopt);
    }
    try {
      OpenedImage image(shape_, files_, OpenedImage::Mode::read_write);
      std::vector<std::byte> disk = image.read_all();
      disk.resize(model_.size());
      EXPECT_EQ(model_.compare_after_crash(disk), std::nullopt);
      image.layer().write({100}, recognisable_bytes(99, 100, 50));
      image.layer().close();
      EXPECT_EQ(corruption_in(shape_, files_), std::nullopt) << "after writing to it again";
    } catch (const Error& error) {
      ADD_FAILURE() << "the image cannot be used: " << error.what();
    }
  }

  const Shape& shape_;
  const ImageFiles files_;
  EventCounter counter_;
  GuestModel model_;
  std::unique_ptr<OpenedImage> image_;
  bool failed_ = false;
};

/// Clusters so small that the refcount table has to grow; or a backing file, and a storage that
/// wants its requests aligned.
struct Stage {
  explicit Stage(bool is_backed) : align(is_backed ? 8192 : 0) {
    shape = is_backed ? with_backing(plain_shape("Backed", 100 * 4096, 4096))
                      : plain_shape("Small", 100 * 512, 512);
    shape.options.refcount_bits = is_backed ? 16 : 64;
    // Freed clusters are not discarded: a discard that fails is nobody's loss.
    shape.metadata.discard_pass_through = {false, false, false};
    files = create_image_files(shape);
    model.emplace(initial_content(shape));
    OpenedImage image(shape, files, OpenedImage::Mode::read_write);
    const std::uint64_t c = shape.cluster_size();
    for (const Request& request : {Request{Request::Kind::write, 2 * c, 6 * c, false, 1},
                                   Request{Request::Kind::write_compressed, 10 * c, c, false, 2}}) {
      perform(request, shape, image.layer(), *model);
    }
    image.layer().close();
    model->flushed();
  }

  Shape shape;
  ImageFiles files;
  std::optional<GuestModel> model;
  std::uint64_t align;
};

class EventFault : public testing::TestWithParam<std::size_t> {
 protected:
  static Event event() { return static_cast<Event>(GetParam()); }

  void fail_on(const Stage& stage, int errno_value, bool may_be_absorbed) {
    // Nearly every time while there are few; then ever fewer.
    for (int at = 1; at < 400; at += kIsSanitized ? 2 * at : 1 + at / 3) {
      SCOPED_TRACE(stage.shape.name + ", errno " + std::to_string(errno_value) + ", time " +
                   std::to_string(at));
      DisturbedUse run(stage.shape, stage.files, *stage.model);
      const bool has_failed = run.go(failing_once(event(), at, errno_value, stage.align));
      const bool has_come =
          is_of_storage(event()) ? has_failed : run.counter().count(event()) >= at;
      if (HasFailure() || !has_come) return;
      EXPECT_TRUE(has_failed || may_be_absorbed) << "no call has reported the failure";
    }
  }
};

TEST_P(EventFault, IsReportedAndHarmless) {
  for (const bool is_backed : {false, true}) {
    const Stage stage(is_backed);
    // A lack of space makes the engine look for clusters to reuse.
    fail_on(stage, EIO, event() == Event::flush_to_disk);  // behind the last one nothing comes
    fail_on(stage, ENOSPC, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Events, EventFault, testing::Range<std::size_t>(0, kEventCount),
                         [](const auto& which) {
                           return std::string(event_name(static_cast<Event>(which.param)));
                         });

TEST(EventCoverage, TheEngineComesToEveryEvent) {
  std::set<std::string> missing;
  const Stage small(false);
  const Stage backed(true);
  DisturbedUse first(small.shape, small.files, *small.model);
  DisturbedUse second(backed.shape, backed.files, *backed.model);
  EXPECT_FALSE(first.go({}));
  EXPECT_FALSE(second.go({}));
  for (std::size_t i = 0; i < kEventCount; ++i) {
    const auto event = static_cast<Event>(i);
    if (is_of_storage(event) || is_never_raised(event)) continue;
    if (first.counter().count(event) + second.counter().count(event) == 0) {
      missing.insert(std::string(event_name(event)));
    }
  }
  EXPECT_EQ(missing, std::set<std::string>{});
}

}  // namespace
}  // namespace qcowkit::test

// Changes of key slots that crash or fail half-way: nobody is locked out, and nothing erased comes
// back.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/crypto/luks_fixture.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::crypto {
namespace {

using test::adding;
using test::CrashDisk;
using test::erasing;
using test::forced;
using test::make_luks_storage;
using test::open_luks;
using test::opens;
using test::secret;

constexpr std::uint64_t kSeeds = 8;

/// A change, and who must be able to open the volume whatever happens.
struct Change {
  std::string name;
  std::vector<std::string> passphrases;  ///< there before, in slots 0, 1, ...; the first is used
  KeySlotChange change;
  std::vector<std::string> always;  ///< open the volume at any time
  std::vector<std::string> any_of;  ///< at any time, one of them does; empty: no matter
  std::vector<std::string> after;   ///< open it afterwards
  std::vector<std::string> gone;    ///< do not open it afterwards
};

void PrintTo(const Change& change, std::ostream* to) { *to << change.name; }

class LuksKeySlotChange : public testing::TestWithParam<Change> {
 protected:
  LuksKeySlotChange() : start_(make_luks_storage(GetParam().passphrases.front())) {
    for (std::size_t i = 1; i < GetParam().passphrases.size(); ++i) {
      open_luks(*start_).change_key_slots(secret(GetParam().passphrases.front()),
                                          adding(GetParam().passphrases[i]));
    }
  }

  static void change(Storage& storage) {
    open_luks(storage).change_key_slots(secret(GetParam().passphrases.front()), GetParam().change);
  }

  static void expect_open_at_any_time(Storage& storage) {
    const LuksVolume volume = open_luks(storage);
    for (const std::string& passphrase : GetParam().always) {
      EXPECT_TRUE(opens(volume, passphrase)) << passphrase;
    }
    bool any = GetParam().any_of.empty();
    for (const std::string& passphrase : GetParam().any_of) any = any || opens(volume, passphrase);
    EXPECT_TRUE(any);
  }

  static void expect_done(Storage& storage) {
    expect_open_at_any_time(storage);
    const LuksVolume volume = open_luks(storage);
    for (const std::string& passphrase : GetParam().after) {
      EXPECT_TRUE(opens(volume, passphrase)) << passphrase;
    }
    for (const std::string& passphrase : GetParam().gone) {
      EXPECT_FALSE(opens(volume, passphrase)) << passphrase;
    }
  }

  const std::shared_ptr<MemoryStorage> start_;
};

TEST_P(LuksKeySlotChange, CrashesAtAnyMomentLockNobodyOut) {
  CrashDisk rehearsal(*start_);
  change(*rehearsal.open());
  // Seed 0 loses all that was not flushed: a change that has returned is durable.
  expect_done(*rehearsal.crash_image(0));

  const std::uint64_t changes = rehearsal.power().changes();
  ASSERT_GT(changes, 1u);
  for (std::uint64_t n = 0; n < changes; ++n) {
    CrashDisk disk(*start_);
    disk.power().fail_after(n);
    EXPECT_THROW(change(*disk.open()), Error);
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      SCOPED_TRACE("after change " + std::to_string(n) + ", seed " + std::to_string(seed));
      expect_open_at_any_time(*disk.crash_image(seed));
    }
  }
}

TEST_P(LuksKeySlotChange, FailuresOfAnyOperationLockNobodyOut) {
  for (std::uint64_t at = 1;; ++at) {
    SCOPED_TRACE("operation " + std::to_string(at));
    ASSERT_LT(at, 1000u);
    const std::shared_ptr<MemoryStorage> behind = start_->clone();
    test::FaultStorage storage(behind);
    storage.plan().arm({.at = at});
    try {
      change(storage);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), std::errc::io_error) << error.message();
    }
    if (!storage.plan().has_fired()) {
      expect_done(*behind);
      return;
    }
    expect_open_at_any_time(*behind);
  }
}

KeySlotChange erasing_slot_one() { return test::erasing_slot(1); }

INSTANTIATE_TEST_SUITE_P(
    Kinds, LuksKeySlotChange,
    testing::Values(
        Change{"Add", {"abc"}, adding("new"), {"abc"}, {}, {"new"}, {}},
        // The records of slots 6 and 7 lie in, or reach into, the header's second sector.
        Change{"AddAcrossSectors", {"abc"}, adding("new", 6), {"abc"}, {}, {"new"}, {}},
        Change{"EraseByPassphrase", {"abc", "new"}, erasing("new"), {"abc"}, {}, {}, {"new"}},
        Change{"EraseByNumber", {"abc", "new"}, erasing_slot_one(), {"abc"}, {}, {}, {"new"}},
        Change{"ReplaceTheOnlyOne",
               {"abc"},
               forced(adding("new", 0)),
               {},
               {"abc", "new"},
               {"new"},
               {"abc"}},
        Change{"ReplaceOneOfEight",
               {"0", "1", "2", "3", "4", "5", "6", "7"},
               forced(adding("new", 6)),
               {"0", "5", "7"},
               {},
               {"new"},
               {"6"}}),
    [](const auto& change) { return change.param.name; });

}  // namespace
}  // namespace qcowkit::crypto

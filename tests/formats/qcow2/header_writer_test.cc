// Replacing headers: what is read afterwards, and what failures leave.
#include "formats/qcow2/header_writer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/crash_storage.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 4096;

using Change = std::function<void(Header&)>;

/// Writes the header that `change` makes of the present one.
void replace(Storage& storage, const Change& change) {
  const Header present = Qcow2Layer::read_header(storage);
  Header changed = present;
  change(changed);
  write_header(storage, present, changed, [&] { storage.flush(); });
}

Header header_of(Storage& storage) { return Qcow2Layer::read_header(storage); }

std::shared_ptr<MemoryStorage> image_with_name(const std::string& name,
                                               std::uint64_t cluster_size = kCluster) {
  auto image = test::make_engine_image({.cluster_size = cluster_size});
  replace(*image, [&](Header& header) { header.backing_file = name; });
  return image;
}

TEST(HeaderWriter, FieldsChangeInTheFirstSectorOnly) {
  const auto image = image_with_name("base");
  std::vector<std::byte> before(kCluster);
  image->read(0, before);
  replace(*image, [](Header& header) {
    header.size = 1 << 20;
    header.incompatible_features |= incompatible::kDirty;
  });
  std::vector<std::byte> after(kCluster);
  image->read(0, after);
  EXPECT_TRUE(std::equal(before.begin() + 512, before.end(), after.begin() + 512));
  EXPECT_EQ(header_of(*image).size, 1u << 20);
  EXPECT_TRUE(header_of(*image).has(incompatible::kDirty));
  EXPECT_EQ(header_of(*image).backing_file, "base");
}

TEST(HeaderWriter, FieldsChangeWithOneWrite) {
  const auto image = image_with_name("base");
  test::FaultStorage storage(image);
  replace(storage, [](Header& header) { header.nb_snapshots = 0; });
  EXPECT_EQ(storage.plan().count(test::kChanges), 1u);
}

TEST(HeaderWriter, NameThatStandsElsewhereStaysThere) {
  const auto image = image_with_name("base");
  // Another program put the name at the cluster's end.
  const std::string name = "elsewhere";
  const be64 offset = kCluster - name.size();
  const be32 size = static_cast<std::uint32_t>(name.size());
  image->write(offset, std::as_bytes(std::span(name)));
  image->write(8, std::as_bytes(std::span(&offset, 1)));
  image->write(16, std::as_bytes(std::span(&size, 1)));
  replace(*image, [](Header& header) { header.size = 1 << 20; });
  EXPECT_EQ(test::field_of(*image, 8), kCluster - name.size());
  EXPECT_EQ(header_of(*image).backing_file, name);
}

TEST(HeaderWriter, NamesOfAllLengthsAreRead) {
  const auto image = image_with_name("b");
  for (const std::size_t length : {1, 100, 300, 500, 512, 600, 1000, 1023, 30, 0, 700, 2}) {
    const std::string name(length, 'n');
    replace(*image, [&](Header& header) { header.backing_file = name; });
    EXPECT_EQ(header_of(*image).backing_file, name) << length;
    EXPECT_TRUE(length == 0 || test::field_of(*image, 8) + length <= kCluster);
  }
}

TEST(HeaderWriter, NameOfAnInterimHeaderIsWipedOut) {
  const auto image = image_with_name(std::string(600, 'x'));
  replace(*image, [](Header& header) { header.backing_file = std::string(700, 'n'); });
  std::vector<std::byte> bytes(kCluster);
  image->read(0, bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{'n'}) / 600, 1) << "the name stands there twice";
}

TEST(HeaderWriter, VersionChangesBothWays) {
  const auto image = image_with_name("base");
  replace(*image, [](Header& header) { header.version = 2; });
  EXPECT_EQ(header_of(*image).version, 2u);
  EXPECT_EQ(header_of(*image).backing_file, "base");
  replace(*image, [](Header& header) { header.version = 3; });
  EXPECT_EQ(header_of(*image).version, 3u);
  EXPECT_EQ(header_of(*image).backing_file, "base");
}

TEST(HeaderWriter, WhatDoesNotFitIsRefusedAndNothingIsWritten) {
  const auto image = image_with_name("base", 512);
  std::vector<std::byte> before(512);
  image->read(0, before);
  const Error error = test::error_of([&] {
    replace(*image, [](Header& header) { header.backing_file = std::string(500, 'n'); });
  });
  EXPECT_EQ(error.code(), Errc::invalid_argument);
  std::vector<std::byte> after(512);
  image->read(0, after);
  EXPECT_TRUE(before == after);
}

/// Changes of every kind, from a header of each length.
struct Replacement {
  std::string name;
  std::string old_name;
  Change change;
};
void PrintTo(const Replacement& r, std::ostream* out) { *out << r.name; }

class HeaderReplacement : public testing::TestWithParam<Replacement> {
 protected:
  HeaderReplacement() : image_(image_with_name(GetParam().old_name)) {
    const auto copy = image_->clone();
    replace(*copy, GetParam().change);
    after_ = header_of(*copy).encode();
    before_ = header_of(*image_).encode();
  }

  const std::shared_ptr<MemoryStorage> image_;
  std::vector<std::byte> before_;
  std::vector<std::byte> after_;
};

TEST_P(HeaderReplacement, IsBeforeOrAfterWhereverThePowerFails) {
  test::CrashDisk rehearsal(*image_);
  replace(*rehearsal.open(), GetParam().change);
  for (std::uint64_t changes = 0; changes <= rehearsal.power().changes(); ++changes) {
    test::CrashDisk disk(*image_);
    disk.power().fail_after(changes);
    try {
      replace(*disk.open(), GetParam().change);
    } catch (const Error&) {
      // The power is off.
    }
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const auto left = disk.crash_image(seed);
      Header header = header_of(*left);
      // The interim header, which lacks the names of features, is written over as any other is.
      write_header(*left, header, header, [] {});
      replace(*left, [](Header& h) { h.backing_file += "+"; });
      replace(*left, [](Header& h) { h.backing_file.pop_back(); });
      header = header_of(*left);
      const bool is_before = header.size == Header::decode(before_).size &&
                             header.backing_file == Header::decode(before_).backing_file &&
                             header.version == Header::decode(before_).version;
      const bool is_after = header.size == Header::decode(after_).size &&
                            header.backing_file == Header::decode(after_).backing_file &&
                            header.version == Header::decode(after_).version;
      ASSERT_TRUE(is_before || is_after) << "after change " << changes << ", seed " << seed;
    }
  }
}

TEST_P(HeaderReplacement, FailureLeavesWhatWasThere) {
  for (const std::uint64_t torn_bytes : {std::uint64_t{0}, std::uint64_t{512}, ~std::uint64_t{0}}) {
    for (std::uint64_t at = 1;; ++at) {
      const std::shared_ptr<MemoryStorage> copy = image_->clone();
      test::FaultStorage storage(copy);
      storage.plan().arm({.operations = test::kWrites, .at = at, .torn_bytes = torn_bytes});
      bool failed = false;
      try {
        replace(storage, GetParam().change);
      } catch (const Error&) {
        failed = true;
      }
      if (!storage.plan().has_fired()) break;
      EXPECT_TRUE(header_of(*copy).encode() == (failed ? before_ : after_)) << "write " << at;
    }
  }
}

TEST_P(HeaderReplacement, FailureThatStaysIsAnUnknownHeader) {
  test::FaultStorage storage(image_);
  storage.plan().arm({.operations = test::kWrites, .at = 1, .stays = true, .torn_bytes = 512});
  try {
    replace(storage, GetParam().change);
    ADD_FAILURE() << "no error";
  } catch (const UnknownHeader& error) {
    EXPECT_TRUE(test::mentions(error, {"header", "injected"}));
  } catch (const Error&) {
    // Before the first sector was touched.
    EXPECT_TRUE(header_of(*image_).encode() == before_);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, HeaderReplacement,
    testing::Values(
        Replacement{"Field", "base", [](Header& h) { h.size = 1 << 20; }},
        Replacement{"ShortName", "base", [](Header& h) { h.backing_file = "other"; }},
        Replacement{"NoName", "base", [](Header& h) { h.backing_file.clear(); }},
        Replacement{"LongName", "base", [](Header& h) { h.backing_file.assign(700, 'n'); }},
        Replacement{"OtherLongName", std::string(800, 'o'),
                    [](Header& h) { h.backing_file.assign(900, 'n'); }},
        Replacement{"ShorterName", std::string(900, 'o'), [](Header& h) { h.backing_file = "b"; }},
        Replacement{"Version", "base", [](Header& h) { h.version = 2; }}),
    [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace qcowkit::qcow2

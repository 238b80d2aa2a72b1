// Raw images that nobody called raw.
#include "image/guessed_raw.h"

#include <gtest/gtest.h>

#include <cstring>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::error_of;

constexpr std::uint64_t kSize = 64 << 10;

std::vector<std::byte> start_of(std::string_view signature, std::size_t bytes) {
  std::vector<std::byte> content(bytes);
  std::memcpy(content.data(), signature.data(), signature.size());
  return content;
}

std::unique_ptr<Image> open(const std::string& format) {
  auto storage = make_memory_storage("disk");
  storage->resize(kSize, Preallocation::off);
  OpenOptions options;
  options.read_only = false;
  options.format = format;
  return Image::open(std::move(storage), options);
}

TEST(GuessedRaw, NoOtherFormatBeginsInItsFirstSector) {
  using namespace std::string_view_literals;
  const auto image = open("");
  for (const std::string_view signature :
       {"QFI\xfb\0\0\0\x03"sv, "LUKS\xba\xbe\0\x01"sv, "KDMV"sv, "vhdxfile"sv}) {
    for (const std::size_t bytes : {signature.size(), std::size_t{512}, std::size_t{8192}}) {
      const Error error = error_of([&] { image->write(0, start_of(signature, bytes)); });
      EXPECT_EQ(error.code(), std::errc::operation_not_permitted);
      EXPECT_NE(error.message().find("disk"), std::string::npos);
    }
  }
  std::vector<std::byte> disk(kSize);
  image->read(0, disk);
  EXPECT_EQ(disk, std::vector<std::byte>(kSize)) << "nothing was written";
}

TEST(GuessedRaw, NorByteByByte) {
  const auto image = open("");
  const std::vector<std::byte> bytes = start_of("KDMV", 4);
  for (std::size_t at : {3, 1, 0}) image->write(at, std::span(bytes).subspan(at, 1));
  EXPECT_THROW(image->write(2, std::span(bytes).subspan(2, 1)), Error);
}

TEST(GuessedRaw, TakesEverythingElse) {
  const auto image = open("");
  image->write(512, start_of("KDMV", 512));
  image->write(1, start_of("KDMV", 512));
  const auto content = test::make_content(1, kSize);
  image->write(0, content);
  image->write_zeroes(0, 4096, true);
  std::vector<std::byte> disk(kSize - 4096);
  image->read(4096, disk);
  EXPECT_TRUE(std::ranges::equal(disk, std::span(content).subspan(4096)));
}

TEST(GuessedRaw, IsNotMeantWhereTheFormatWasNamed) {
  const auto image = open("raw");
  EXPECT_NO_THROW(image->write(0, start_of("KDMV", 512)));
}

TEST(GuessedRaw, CopiesIntoTheFirstSectorComeAsWrites) {
  auto memory = std::make_unique<MemoryStorage>("disk");
  const auto guarded = make_guessed_raw_storage(std::move(memory));
  guarded->resize(kSize, Preallocation::off);
  const auto source = make_memory_storage();
  source->write(0, start_of("KDMV", 4096));
  EXPECT_EQ(guarded->copy_from(*source, 0, 0, 4096), 0u);
  EXPECT_EQ(guarded->clone_from(*source, 0, 0, 4096), 0u);
  EXPECT_EQ(guarded->place_of(0).storage, guarded.get());
  EXPECT_NE(guarded->place_of(512).storage, guarded.get());
}

}  // namespace
}  // namespace qcowkit

// Tests of compare: verdicts, where it ends, and side by side with the reference.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/cloning_storage.h"
#include "tests/jobs/images.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::data_bytes;
using test::make_image;
using test::qcow2_options;
using test::raw_options;
using Verdict = CompareResult::Verdict;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

Bytes one_byte() { return {std::byte{7}}; }

CompareOptions strict() {
  CompareOptions options;
  options.strict = true;
  return options;
}

void expect_result(const CompareResult& result, Verdict verdict, std::uint64_t guest_offset,
                   bool size_warning = false) {
  EXPECT_EQ(result.verdict, verdict);
  if (verdict != Verdict::identical && verdict != Verdict::sizes_differ) {
    EXPECT_EQ(result.guest_offset, guest_offset);
  }
  EXPECT_EQ(result.size_warning, size_warning);
}

TEST(Compare, SameContentStoredDifferentlyIsIdentical) {
  std::mt19937_64 random(1);
  const Bytes content = data_bytes(3 * kMiB, random);
  const auto first = make_image(raw_options(8 * kMiB));
  const auto second = make_image(qcow2_options(8 * kMiB, 4096));
  for (const auto& image : {first.get(), second.get()}) image->write(kMiB, content);
  first->write(6 * kMiB, Bytes(kMiB));
  expect_result(compare(*first, *second), Verdict::identical, 0);
  expect_result(compare(*second, *first), Verdict::identical, 0);
}

TEST(Compare, FirstDifferingSectorIsFound) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    const Bytes content = data_bytes(4 * kMiB, random);
    const auto first = make_image(raw_options(8 * kMiB));
    const auto second = make_image(qcow2_options(8 * kMiB));
    first->write(0, content);
    second->write(0, content);
    std::uint64_t expected = 8 * kMiB;
    for (std::uint64_t differences = 1 + random() % 4; differences > 0; --differences) {
      const std::uint64_t offset = random() % (8 * kMiB);
      (random() % 2 == 0 ? first : second)->write(offset, Bytes{std::byte{0xff}});
      expected = std::min(expected, offset / 512 * 512);
    }
    expect_result(compare(*first, *second), Verdict::content_differs, expected);
  }
}

TEST(Compare, RangesKnownToBeZeroAreNotRead) {
  const auto traffic = std::make_shared<test::Traffic>();
  const auto make = [&] {
    return make_image(qcow2_options(kTiB), std::make_unique<test::CloningStorage>(false, traffic));
  };
  const auto first = make();
  const auto second = make();
  second->write_zeroes(kMiB, kMiB, true);
  traffic->read_bytes = 0;
  expect_result(compare(*first, *second), Verdict::identical, 0);
  EXPECT_LT(traffic->read_bytes, kMiB);
}

TEST(Compare, ZeroesBehindTheShorterEndAreAWarning) {
  for (const bool swapped : {false, true}) {
    const auto first = make_image(raw_options(kMiB));
    const auto second = make_image(qcow2_options(2 * kMiB));
    second->write(kMiB + 70'000, Bytes(1000));
    Image& a = swapped ? *second : *first;
    Image& b = swapped ? *first : *second;
    expect_result(compare(a, b), Verdict::identical, 0, true);
    EXPECT_EQ(compare(a, b, strict()).verdict, Verdict::sizes_differ);
    second->write(kMiB + 70'000, one_byte());
    expect_result(compare(a, b), Verdict::content_differs, (kMiB + 70'000) / 512 * 512, true);
    first->write(1000, one_byte());
    expect_result(compare(a, b), Verdict::content_differs, 512, false);
    EXPECT_EQ(compare(a, b, strict()).verdict, Verdict::sizes_differ);
  }
}

TEST(Compare, EmptyImagesAreIdentical) {
  const auto first = make_image(raw_options(0));
  const auto second = make_image(qcow2_options(0));
  expect_result(compare(*first, *second), Verdict::identical, 0);
  expect_result(compare(*first, *second, strict()), Verdict::identical, 0);
}

TEST(Compare, StrictTellsKindsOfExtentsApart) {
  const std::uint64_t size = 64 * kMiB;
  const std::uint64_t at = 128 << 10;
  const auto empty = make_image(qcow2_options(size));
  const auto zero = make_image(qcow2_options(size));
  zero->write(at, one_byte());
  zero->write_zeroes(at, 65536, true);
  const auto data = make_image(qcow2_options(size));
  data->write(at, Bytes(65536));
  expect_result(compare(*zero, *data), Verdict::identical, 0);
  expect_result(compare(*zero, *data, strict()), Verdict::allocation_differs, at);
  expect_result(compare(*zero, *zero, strict()), Verdict::identical, 0);
  // The reference takes the end of the disk for a property of the extent that reaches it.
  expect_result(compare(*empty, *data, strict()), Verdict::allocation_differs, 0);
}

TEST(Compare, ProgressEndsWithAllAndStopEndsIt) {
  std::mt19937_64 random(1);
  const auto image = make_image(raw_options(8 * kMiB));
  image->write(0, data_bytes(8 * kMiB, random));
  std::vector<double> fractions;
  std::stop_source stop;
  CompareOptions options;
  options.stop = stop.get_token();
  options.progress = [&](double fraction) { fractions.push_back(fraction); };
  compare(*image, *image, options);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  stop.request_stop();
  try {
    compare(*image, *image, options);
    FAIL() << "was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::cancelled);
  }
}

// --- The second opinion ------------------------------------------------------------------------

/// What the reference prints for such a result.
std::string as_text(const CompareResult& result) {
  std::string text = result.size_warning ? "Warning: Image size mismatch!\n" : "";
  const std::string offset = std::to_string(result.guest_offset);
  switch (result.verdict) {
    case Verdict::identical:
      return text + "Images are identical.\n";
    case Verdict::sizes_differ:
      return text + "Strict mode: Image size mismatch!\n";
    case Verdict::content_differs:
      return text + "Content mismatch at offset " + offset + "!\n";
    case Verdict::allocation_differs:
      return text + "Strict mode: Offset " + offset + " block status mismatch!\n";
  }
  return text;
}

class CompareWithReference : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::have_command("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
  }

  std::unique_ptr<Image> create(const std::string& name, const CreateOptions& options) {
    Image::create(dir_.file(name), options);
    OpenOptions open;
    open.format = options.format;
    open.read_only = false;
    return Image::open(dir_.file(name), open);
  }
  std::string ours(const std::string& first, const std::string& second, bool is_strict) {
    const auto a = Image::open(dir_.file(first));
    const auto b = Image::open(dir_.file(second));
    CompareOptions options;
    options.strict = is_strict;
    return as_text(compare(*a, *b, options));
  }
  std::string reference(const std::string& first, const std::string& second, bool is_strict) {
    std::vector<std::string> argv = {"qemu-img", "compare"};
    if (is_strict) argv.emplace_back("-s");
    argv.push_back(dir_.file(first));
    argv.push_back(dir_.file(second));
    return test::run(argv).out;
  }

  test::TempDir dir_;
};

TEST_F(CompareWithReference, RandomPairsGetTheSameVerdict) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 15; ++round) {
    const std::uint64_t sizes[] = {kMiB, 3 * kMiB / 2, 64 * kMiB};
    const auto options = [&] {
      const std::uint64_t size = sizes[random() % 10 / 8 + (round % 2)];
      return random() % 3 == 0 ? raw_options(size) : qcow2_options(size);
    };
    const auto first = create("first", options());
    const auto second = create("second", options());
    const std::uint64_t common = std::min(first->virtual_size(), second->virtual_size());
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t offset = random() % common / 65536 * 65536;
      const Bytes bytes = random() % 3 == 0 ? Bytes(65536) : data_bytes(65536, random);
      const std::uint64_t length = std::min<std::uint64_t>(65536, common - offset);
      first->write(offset, std::span(bytes).first(length));
      second->write(offset, std::span(bytes).first(length));
    }
    if (random() % 2 == 0) second->write(random() % second->virtual_size(), one_byte());
    first->close();
    second->close();
    EXPECT_EQ(ours("first", "second", false), reference("first", "second", false));
  }
}

TEST_F(CompareWithReference, StrictVerdictsOfTheSameStepsAreTheSame) {
  const std::uint64_t cluster = 65536;
  const auto make = [&](const std::string& name, std::uint64_t size, const auto& change) {
    change(*create(name, qcow2_options(size)));
  };
  for (const std::uint64_t size : {kMiB, 64 * kMiB, 600 * kMiB}) {
    make("empty", size, [](Image&) {});
    make("zero", size, [&](Image& i) {
      i.write(2 * cluster, one_byte());
      i.write_zeroes(2 * cluster, cluster, true);
    });
    make("data", size, [&](Image& i) { i.write(2 * cluster, Bytes(cluster)); });
    make("more", size, [&](Image& i) {
      i.write(2 * cluster, Bytes(cluster));
      i.write(size - cluster, one_byte());
    });
    make("preallocated", size, [&](Image& i) {
      i.write(2 * cluster, Bytes(cluster));
      i.write_zeroes(2 * cluster, cluster, false);
    });
    create("raw", raw_options(size))->write(2 * cluster, Bytes(cluster));
    const std::string names[] = {"empty", "zero", "data", "more", "preallocated", "raw"};
    for (const std::string& a : names) {
      for (const std::string& b : names) {
        EXPECT_EQ(ours(a, b, true), reference(a, b, true)) << size << " " << a << " " << b;
      }
    }
  }
}

}  // namespace
}  // namespace qcowkit

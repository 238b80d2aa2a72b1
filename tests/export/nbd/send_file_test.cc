// Large reads of images that nobody writes to: their bytes go from the file to the socket.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <thread>

#include "export/nbd/serve_request.h"
#include "qcowkit/file_backed.h"
#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::TempDir;

constexpr std::uint64_t kSize = 8 << 20;
constexpr std::uint32_t kLarge = 3 << 20;
constexpr std::uint64_t kHole = 5 << 20;  // of one MiB

Bytes content() {
  std::mt19937_64 random(1);
  Bytes bytes(kSize);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  std::fill_n(bytes.begin() + kHole, 1 << 20, std::byte{0});
  return bytes;
}

/// A file with `content()`, as an image.
std::unique_ptr<Image> image_in(const std::string& path, const std::string& format,
                                bool read_only) {
  const Bytes all = content();
  {
    auto image = memory_image(format, kSize, open_file(path, {.create = true}));
    image->write(0, std::span(all).first(kHole));
    image->write(kHole + (1 << 20), std::span(all).subspan(kHole + (1 << 20)));
    image->close();
  }
  OpenOptions options;
  options.format = format;
  options.read_only = read_only;
  return Image::open(open_file(path, {.read_only = read_only}), options);
}

/// Keeps what a reply is made of in place of sending it.
class Notes final : public ReplySink {
 public:
  void send(std::span<const iovec> from) noexcept override { add(from); }
  void send_pieces(const NextPiece& next) noexcept override {
    while (true) {
      const auto piece = next();
      is_broken = is_broken || !piece;
      if (!piece || piece->bytes.empty()) return;
      add(piece->bytes);
      if (piece->file != nullptr) add(*piece->file);
    }
  }
  bool sends_files() const noexcept override { return true; }

  Bytes sent;
  std::uint64_t sent_from_files = 0;
  bool is_broken = false;
  /// What the file has not after all, from there on.
  std::uint64_t file_ends_after = ~std::uint64_t{0};

 private:
  void add(std::span<const iovec> from) {
    for (const iovec& part : from) {
      const auto* const begin = static_cast<const std::byte*>(part.iov_base);
      sent.insert(sent.end(), begin, begin + part.iov_len);
    }
  }
  void add(FilePiece& file) {
    Bytes bytes(std::min(file.length_bytes, file_ends_after));
    file.sent_bytes = bytes.size();
    ASSERT_EQ(::pread(file.descriptor, bytes.data(), bytes.size(), static_cast<off_t>(file.offset)),
              static_cast<ssize_t>(bytes.size()));
    sent.insert(sent.end(), bytes.begin(), bytes.end());
    sent_from_files += bytes.size();
  }
};

/// A disk without a server: its replies go to `notes`.
class FileReplies : public testing::Test {
 protected:
  /// Makes the image; skips the test where the file system cannot tell what it has in its cache.
  void make_image(const std::string& format, bool read_only) {
    const std::string path = dir.file("disk");
    image.reset();
    image = image_in(path, format, read_only);
    const auto file = open_file(path, {.read_only = true, .locking = Locking::off});
    const auto* const backed = dynamic_cast<const FileBacked*>(file.get());
    ASSERT_NE(backed, nullptr);
    if (backed->cached_run(0, 1).length_bytes == 0) GTEST_SKIP() << "unknown to the file system";
  }
  void serve_read(std::uint64_t offset, std::uint64_t length, Style style) {
    const Session session{
        .disk = std::make_shared<ServedExport>(exported()), .style = style, .contexts = {}};
    MemoryPool pool;
    MemoryBudget budget(pool);
    Buffer memory;
    ReplyWriter reply(style, notes, memory, budget);
    const Request request{
        .command = Command::read, .cookie = 7, .offset = offset, .length_bytes = length};
    serve_request(session, request, {}, reply, [this](const std::string&) { ++problems; });
    reply.flush();
  }
  NbdExport exported() {
    NbdExport disk;
    disk.image = image.get();
    return disk;
  }
  /// Of a simple reply.
  Bytes data() const { return {notes.sent.begin() + sizeof(SimpleReply), notes.sent.end()}; }

  const TempDir dir;
  std::unique_ptr<Image> image;
  Notes notes;
  int problems = 0;
};

Bytes part(const Bytes& all, std::uint64_t offset, std::uint64_t length) {
  const auto from = all.begin() + static_cast<std::ptrdiff_t>(offset);
  return {from, from + static_cast<std::ptrdiff_t>(length)};
}

TEST_F(FileReplies, ToLargeReadsOfReadOnlyImagesComeFromTheFile) {
  for (const char* const format : {"raw", "qcow2"}) {
    make_image(format, true);
    if (IsSkipped()) return;
    notes = {};
    serve_read(4096, kLarge, Style::simple);
    EXPECT_EQ(notes.sent_from_files, kLarge) << format;
    EXPECT_EQ(data(), part(content(), 4096, kLarge)) << format;
  }
}

TEST_F(FileReplies, ToSmallReadsAreCopies) {
  make_image("raw", true);
  if (IsSkipped()) return;
  serve_read(0, 65536, Style::simple);
  EXPECT_EQ(notes.sent_from_files, 0u);
  EXPECT_EQ(data(), part(content(), 0, 65536));
}

TEST_F(FileReplies, OfImagesThatMayBeWrittenToAreCopies) {
  make_image("raw", false);
  serve_read(0, kLarge, Style::simple);
  EXPECT_EQ(notes.sent_from_files, 0u);
  EXPECT_EQ(data(), part(content(), 0, kLarge));
}

TEST_F(FileReplies, OfImagesInMemoryAreCopies) {
  image = memory_image("raw", kSize);
  serve_read(0, kLarge, Style::simple);
  EXPECT_EQ(notes.sent_from_files, 0u);
  EXPECT_EQ(data(), Bytes(kLarge));
}

TEST_F(FileReplies, ThatTheFileCutsShortGoOnWithWhatIsRead) {
  make_image("raw", true);
  if (IsSkipped()) return;
  notes.file_ends_after = (1 << 20) + 123;
  serve_read(512, kLarge, Style::simple);
  EXPECT_EQ(notes.sent_from_files, (1u << 20) + 123);
  EXPECT_EQ(data(), part(content(), 512, kLarge));
  EXPECT_FALSE(notes.is_broken);
}

TEST_F(FileReplies, ThatCannotBeGoneOnWithEndTheConnection) {
  const auto failing = [](std::uint64_t, std::span<std::byte>) { throw os_error(EIO, "read"); };
  for (const Style style : {Style::simple, Style::structured, Style::extended}) {
    MemoryPool pool;
    MemoryBudget budget(pool);
    Buffer memory;
    notes = {};
    notes.file_ends_after = 1000;
    ReplyWriter reply(style, notes, memory, budget);
    const Request request{.command = Command::read, .length_bytes = kLarge};
    const int descriptor = ::memfd_create("bytes", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(descriptor, kLarge), 0);
    EXPECT_THROW(reply.send_file(request, 0, {descriptor, 0, kLarge}, true, failing), Error);
    ::close(descriptor);
    EXPECT_TRUE(notes.is_broken);
    EXPECT_EQ(notes.sent_from_files, 1000u);
  }
}

/// Served over a Unix socket.
class FileReadsOf : public testing::TestWithParam<Style> {
 protected:
  explicit FileReadsOf(const std::string& format = "raw")
      : disk_(image_in(dir_.file("disk"), format, true)) {}

  const TempDir dir_;
  ServedDisk disk_;
  const Bytes content_ = content();
};
INSTANTIATE_TEST_SUITE_P(Styles, FileReadsOf,
                         testing::Values(Style::simple, Style::structured, Style::extended));

TEST_P(FileReadsOf, AnyRangeHaveWhatTheDiskHas) {
  std::mt19937_64 random(2);
  RawClient client(disk_.socket());
  client.enter(GetParam());
  for (int i = 0; i < 30; ++i) {
    const std::uint64_t offset = random() % kSize;
    const auto length = static_cast<std::uint32_t>(1 + random() % (kSize - offset));
    const bool may_not_fragment = GetParam() != Style::simple && random() % 2 == 0;
    ASSERT_EQ(client.read(offset, length, may_not_fragment ? command_flag::kDf : 0),
              part(content_, offset, length))
        << offset << " " << length;
  }
}

TEST_P(FileReadsOf, SeveralClientsAtOnceDoNotMix) {
  std::vector<std::thread> clients;
  for (std::uint64_t id = 0; id < 4; ++id) {
    clients.emplace_back([this, id] {
      RawClient client(disk_.socket());
      client.enter(GetParam());
      for (std::uint64_t i = 0; i < 20; ++i) {
        const std::uint64_t offset = (id + i) % 4 << 20;
        EXPECT_EQ(client.read(offset, 1 << 20), part(content_, offset, 1 << 20));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_P(FileReadsOf, ThatTheClientTakesLateComeWhole) {
  constexpr std::uint64_t kRequests = 5;
  RawClient client(disk_.socket());
  client.enter(GetParam());
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    client.request(Command::read, i << 20, 1 << 20, 0, i);
  }
  client.hears_nothing_for(20);  // more than the socket takes: the server is amid a reply
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    const Chunk chunk = client.chunk(1 << 20);
    const Bytes expected = part(content_, chunk.cookie << 20, 1 << 20);
    ASSERT_GE(chunk.payload.size(), expected.size());
    EXPECT_TRUE(std::equal(expected.rbegin(), expected.rend(), chunk.payload.rbegin()));
    EXPECT_TRUE(chunk.is_last);
  }
}

TEST_P(FileReadsOf, ClientThatLeavesAmidAReplyEndsNothingElse) {
  for (int i = 0; i < 10; ++i) {
    RawClient leaver(disk_.socket());
    leaver.enter(GetParam());
    for (int request = 0; request < 4; ++request) leaver.request(Command::read, 0, kLarge);
    leaver.receive(100);
  }
  RawClient client(disk_.socket());
  client.enter(GetParam());
  EXPECT_EQ(client.read(0, kLarge), part(content_, 0, kLarge));
}

TEST_P(FileReadsOf, BytesThatTheFileHasNoMoreAreZeroes) {
  RawClient client(disk_.socket());
  client.enter(GetParam());
  constexpr std::uint64_t kLeft = (1 << 20) + 1000;
  std::filesystem::resize_file(dir_.file("disk"), kLeft);
  Bytes expected = part(content_, 0, kLarge);
  std::fill(expected.begin() + kLeft, expected.end(), std::byte{0});
  EXPECT_EQ(client.read(0, kLarge), expected);
  EXPECT_EQ(client.read(kSize - 512, 512), Bytes(512));
}

}  // namespace
}  // namespace qcowkit::nbd::test

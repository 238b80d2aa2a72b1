// Prints how a disk image is stored and copies it into a compressed qcow2 image:
//
//   copy_disk SOURCE TARGET.qcow2
#include <qcowkit/image.h>
#include <qcowkit/jobs.h>

#include <cinttypes>
#include <cstdio>

namespace {

const char* name_of(qcowkit::ExtentKind kind) {
  switch (kind) {
    case qcowkit::ExtentKind::unallocated:
      return "unallocated";
    case qcowkit::ExtentKind::zero:
      return "zero";
    case qcowkit::ExtentKind::data:
      return "data";
    case qcowkit::ExtentKind::compressed:
      return "compressed";
  }
  return "?";
}

void print_layout(qcowkit::Image& image) {
  std::printf("%s: %s, %" PRIu64 " bytes\n", image.filename().c_str(), image.format().c_str(),
              image.virtual_size());
  for (std::uint64_t offset = 0; offset < image.virtual_size();) {
    const qcowkit::Extent extent = image.map(offset, image.virtual_size() - offset);
    std::printf("%12" PRIu64 " %12" PRIu64 "  %s\n", offset, extent.length_bytes,
                name_of(extent.kind));
    offset += extent.length_bytes;
  }
}

void copy_compressed(qcowkit::Image& source, const char* path) {
  qcowkit::CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = source.virtual_size();
  qcowkit::Image::create(path, create);

  qcowkit::OpenOptions open;
  open.format = "qcow2";
  open.read_only = false;
  const auto target = qcowkit::Image::open(path, open);

  qcowkit::CopyOptions options;
  options.compress = true;
  options.target_is_zero = true;
  qcowkit::copy({&source}, *target, options);
  target->close();  // reports what the destructor could not
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s SOURCE TARGET.qcow2\n", argv[0]);
    return 2;
  }
  try {
    const auto source = qcowkit::Image::open(argv[1]);
    print_layout(*source);
    copy_compressed(*source, argv[2]);

    const auto copy = qcowkit::Image::open(argv[2]);
    print_layout(*copy);
    const auto result = qcowkit::compare(*source, *copy);
    return result.verdict == qcowkit::CompareResult::Verdict::identical ? 0 : 1;
  } catch (const qcowkit::Error& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}

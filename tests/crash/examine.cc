// Judging what a crash or a failure has left of an image.
#include "tests/crash/examine.h"

#include <gtest/gtest.h>

#include "formats/qcow2/qcow2_layer.h"
#include "tests/crash/requests.h"

namespace qcowkit::test {

namespace {

void expect_no_corruption(const CheckReport& report, Leaks leaks) {
  EXPECT_TRUE(report.corruptions == 0 && report.check_errors == 0 &&
              (leaks == Leaks::allowed || report.leaks == 0))
      << describe(report);
}

/// Goes on with the image as it was found, as its owner would.
void use_on(const Shape& shape, const ImageFiles& files, std::vector<std::byte> content,
            std::uint64_t seed) {
  constexpr std::size_t kRequests = 12;
  Random random(seed);
  GuestModel model(std::move(content));
  {
    OpenedImage image(shape, files, OpenedImage::Mode::read_write);
    for (const Request& request : random_requests(shape, kRequests, random)) {
      SCOPED_TRACE("used on: " + to_string(request));
      perform(request, shape, image.layer(), model);
    }
    EXPECT_EQ(model.compare(image.read_all()), std::nullopt);
    image.layer().close();
  }
  expect_sound(shape, files, model, Leaks::allowed);
  {
    OpenedImage image(shape, files, OpenedImage::Mode::read_write);
    image.check(Repair::leaks);
    image.layer().close();
  }
  SCOPED_TRACE("leaks repaired");
  expect_sound(shape, files, model, Leaks::none);
}

}  // namespace

void expect_sound(const Shape& shape, const ImageFiles& files, const GuestModel& model,
                  Leaks leaks) {
  OpenedImage image(shape, files, OpenedImage::Mode::check);
  expect_no_corruption(image.check(), leaks);
  EXPECT_EQ(model.compare(image.read_all()), std::nullopt);
}

void examine(const Shape& shape, const ImageFiles& files, const GuestModel& model,
             Examination examination, std::uint64_t seed) {
  try {
    const bool is_dirty =
        qcow2::Qcow2Layer::read_header(*files.image).has(qcow2::incompatible::kDirty);
    std::vector<std::byte> content;
    {
      OpenedImage image(shape, files, OpenedImage::Mode::check);
      if (!is_dirty) expect_no_corruption(image.check(), Leaks::allowed);
      content = image.read_all();
      EXPECT_EQ(model.compare_after_crash(content), std::nullopt);
    }
    if (is_dirty) {
      OpenedImage image(shape, files, OpenedImage::Mode::read_write);
      SCOPED_TRACE("after the repair on opening");
      expect_no_corruption(image.check(), Leaks::none);
      EXPECT_TRUE(image.read_all() == content) << "the repair has changed what the guest reads";
      image.layer().close();
    }
    if (examination == Examination::use_on) use_on(shape, files, std::move(content), seed);
  } catch (const Error& error) {
    ADD_FAILURE() << "the image cannot be used: " << error.what();
  }
}

}  // namespace qcowkit::test

// Merges an image into one that it lies over.
#include "jobs/commit.h"

#include "jobs/copy_plan.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

void require_in_chain(const Image& top, const Image& base) {
  for (const Image* image = top.backing(); image != nullptr; image = image->backing()) {
    if (image == &base) return;
  }
  throw Error(Errc::invalid_argument, "The base is not in the top image's backing chain");
}

/// An image of a chain that can be written to while this lives. The chain is usable again after
/// `end`, or whatever becomes of the work.
class Writable {
 public:
  explicit Writable(Image& image) : image_(image), was_read_only_(image.is_read_only()) {
    if (was_read_only_) image_.reopen(false);
  }
  ~Writable() {
    try {
      end();
    } catch (const std::exception&) {
      // The work has failed already, and that is what is reported.
    }
  }
  Writable(const Writable&) = delete;
  Writable& operator=(const Writable&) = delete;

  void end() {
    if (was_read_only_ && !image_.is_read_only()) image_.reopen(true);
  }

 private:
  Image& image_;
  const bool was_read_only_;
};

}  // namespace

void merge_into(Image& top, Image& base, Image& target, const CommitOptions& options) {
  if (target.virtual_size() < top.virtual_size()) target.resize(top.virtual_size());
  CopyRequest request{.sources = {&top}, .options = {}, .is_commit = true};
  request.options.target_has_backing = true;
  request.options.shared_base = &base;
  request.options.workers = options.workers;
  // What is merged lies among older clusters anyway.
  request.options.out_of_order_writes = true;
  request.options.bytes_per_second = options.bytes_per_second;
  request.options.progress = options.progress;
  request.options.stop = options.stop;
  run_copy(request, target);
  // Only then may the other copy go.
  target.flush();
  if (!options.keep_top) {
    top.make_empty();
    top.flush();
  }
}

void commit(Image& top, Image& base, const CommitOptions& options) {
  require_in_chain(top, base);
  Writable writable(base);
  merge_into(top, base, base, options);
  writable.end();
}

}  // namespace qcowkit

// What the commands of the I/O program work on: the open image, requests under way, the console.
#include "cli/io/session.h"

namespace qcowkit::cli::io {

void Session::print_finished() {
  if (has_image()) console_.write(breakpoints_.newly_stopped(image()));
  console_.write(background_.finished());
}

void Session::finish_requests() { console_.write(background_.wait_for_all()); }

void Session::close() {
  finish_requests();
  breakpoints_.forget();
  if (const std::unique_ptr<OpenedDisk> opened = std::move(opened_)) opened->close();
}

}  // namespace qcowkit::cli::io

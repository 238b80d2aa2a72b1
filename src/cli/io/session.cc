// What the commands of the I/O program work on: the open image, requests under way, the console.
#include "cli/io/session.h"

namespace qcowkit::cli::io {

void Session::print_finished() { console_.write(background_.finished()); }

void Session::finish_requests() {
  console_.flush();
  console_.write(background_.wait_for_all());
}

void Session::close() {
  finish_requests();
  if (const std::unique_ptr<OpenedDisk> opened = std::move(opened_)) opened->close();
}

}  // namespace qcowkit::cli::io

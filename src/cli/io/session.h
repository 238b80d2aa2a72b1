// What the commands of the I/O program work on: the open image, requests under way, the console.
#pragma once

#include <memory>
#include <string>

#include "cli/console.h"
#include "cli/io/background.h"
#include "cli/io/opening.h"
#include "qcowkit/image.h"

namespace qcowkit::cli::io {

/// Used by one thread.
class Session {
 public:
  /// `objects` is what --object has defined; `names_are_lists`: images are named by lists of
  /// options.
  Session(Console& console, NodeObjects objects, bool names_are_lists)
      : console_(console), objects_(std::move(objects)), names_are_lists_(names_are_lists) {}

  Console& console() noexcept { return console_; }
  const NodeObjects& objects() const noexcept { return objects_; }
  bool names_are_lists() const noexcept { return names_are_lists_; }

  bool has_image() const noexcept { return opened_ != nullptr; }
  /// Only if there is one.
  OpenedDisk& opened() noexcept { return *opened_; }
  Disk& disk() noexcept { return opened_->disk; }
  Image& image() noexcept { return disk().image(); }
  void set_opened(std::unique_ptr<OpenedDisk> opened) { opened_ = std::move(opened); }
  /// Waits for what is under way and closes the image, if there is one. Throws `Failure`.
  void close();

  Background& background() noexcept { return background_; }
  /// Prints what has happened in the background since the last time.
  void print_finished();
  /// Prints the same after having waited for all requests.
  void finish_requests();

  bool is_quitting() const noexcept { return is_quitting_; }
  void quit() noexcept { is_quitting_ = true; }

 private:
  Console& console_;
  NodeObjects objects_;
  const bool names_are_lists_;
  std::unique_ptr<OpenedDisk> opened_;
  Background background_;  // goes before the image that its requests use
  bool is_quitting_ = false;
};

}  // namespace qcowkit::cli::io

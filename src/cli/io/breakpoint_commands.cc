// break, wait_break, resume, remove_break: the order of requests, as a script wants it.
#include <fmt/core.h>

#include <cerrno>
#include <optional>
#include <system_error>

#include "cli/io/command.h"
#include "cli/io/complaint.h"

namespace qcowkit::cli::io {

namespace {

Complaint cannot(std::string_view what, int errno_value) {
  return Complaint(
      fmt::format("Could not {}: {}", what, std::generic_category().message(errno_value)));
}

/// The image's breakpoints; `what` would be done with them.
Breakpoints& breakpoints_for(std::string_view what, Session& session) {
  Breakpoints* breakpoints = session.image().storage().breakpoints();
  if (breakpoints == nullptr) throw cannot(what, ENOTSUP);
  session.print_finished();  // tells of who has stopped before anything changes
  return *breakpoints;
}

void tell_resumed(const std::string& tag, Session& session) {
  session.breakpoints().let_go(tag);
  session.console().print("blkdebug: Resuming request '{}'\n", tag);
}

bool run_break(const Words& words, Session& session) {
  constexpr std::string_view kWhat = "set breakpoint";
  Breakpoints& breakpoints = breakpoints_for(kWhat, session);
  const std::optional<Event> event = find_event(words[1]);
  if (!event) throw cannot(kWhat, ENOENT);
  breakpoints.set(*event, words[2]);
  session.breakpoints().add(words[2]);
  return true;
}

bool run_wait_break(const Words& words, Session& session) {
  breakpoints_for("wait for request", session).wait_until_stopped(words[1]);
  session.print_finished();
  return true;
}

bool run_resume(const Words& words, Session& session) {
  constexpr std::string_view kWhat = "resume request";
  const std::string& tag = words[1];
  Breakpoints& breakpoints = breakpoints_for(kWhat, session);
  if (!breakpoints.is_stopped(tag)) throw cannot(kWhat, ENOENT);
  tell_resumed(tag, session);
  breakpoints.resume(tag);
  return true;
}

bool run_remove_break(const Words& words, Session& session) {
  const std::string& tag = words[1];
  const std::string what = fmt::format("remove breakpoint {}", tag);
  Breakpoints& breakpoints = breakpoints_for(what, session);
  // Who has stopped goes on, but its breakpoint was gone already.
  if (breakpoints.is_stopped(tag)) tell_resumed(tag, session);
  breakpoints.remove(tag);
  if (!session.breakpoints().remove_waiting(tag)) throw cannot(what, ENOENT);
  return true;
}

}  // namespace

constexpr Command kBreakCommand{
    .name = "break",
    .arguments = "event tag",
    .summary = "sets a breakpoint on event and tags the stopped request as tag",
    .arguments_min = 2,
    .arguments_max = 2,
    .needs_image = true,
    .run = run_break,
};

constexpr Command kWaitBreakCommand{
    .name = "wait_break",
    .arguments = "tag",
    .summary = "waits for the suspension of a request",
    .arguments_min = 1,
    .arguments_max = 1,
    .needs_image = true,
    .run = run_wait_break,
};

constexpr Command kResumeCommand{
    .name = "resume",
    .arguments = "tag",
    .summary = "resumes the request tagged as tag",
    .arguments_min = 1,
    .arguments_max = 1,
    .needs_image = true,
    .run = run_resume,
};

constexpr Command kRemoveBreakCommand{
    .name = "remove_break",
    .arguments = "tag",
    .summary = "remove a breakpoint by tag",
    .arguments_min = 1,
    .arguments_max = 1,
    .needs_image = true,
    .run = run_remove_break,
};

}  // namespace qcowkit::cli::io

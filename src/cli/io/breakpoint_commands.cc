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

/// The image's breakpoints; `what` would be done with them. Who is stopped or goes on is told on
/// standard output at once, so all that was said before has to be there already.
Breakpoints& breakpoints_for(std::string_view what, Session& session) {
  Breakpoints* breakpoints = session.image().storage().breakpoints();
  if (breakpoints == nullptr) throw cannot(what, ENOTSUP);
  session.print_finished();
  session.console().flush();
  return *breakpoints;
}

bool run_break(const Words& words, Session& session) {
  constexpr std::string_view kWhat = "set breakpoint";
  Breakpoints& breakpoints = breakpoints_for(kWhat, session);
  if (words[1] == "none") return true;  // an event that never comes
  const std::optional<Event> event = find_event(words[1]);
  if (!event) throw cannot(kWhat, ENOENT);
  breakpoints.set(*event, words[2]);
  return true;
}

bool run_wait_break(const Words& words, Session& session) {
  breakpoints_for("wait for request", session).wait_until_stopped(words[1]);
  session.print_finished();
  return true;
}

bool run_resume(const Words& words, Session& session) {
  constexpr std::string_view kWhat = "resume request";
  if (!breakpoints_for(kWhat, session).resume(words[1])) throw cannot(kWhat, ENOENT);
  return true;
}

bool run_remove_break(const Words& words, Session& session) {
  const std::string what = fmt::format("remove breakpoint {}", words[1]);
  if (!breakpoints_for(what, session).remove(words[1])) throw cannot(what, ENOENT);
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

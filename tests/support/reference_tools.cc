#include "tests/support/reference_tools.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "base/checked.h"

namespace qcowkit::test {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

std::string output_of(const std::vector<std::string>& command, int exit_code_max = 0) {
  const CommandResult result = patiently([&] { return run(command); });
  if (result.exit_code <= exit_code_max) return result.out;
  std::string text;
  for (const std::string& word : command) text += word + " ";
  throw std::runtime_error(
      fmt::format("{}: exit code {}\n{}{}", text, result.exit_code, result.out, result.err));
}

std::vector<std::string> qemu_io_words(const std::string& path,
                                       const std::vector<std::string>& commands,
                                       const std::string& format) {
  std::vector<std::string> words = {"qemu-io", "-f", format, "-d", "unmap", "-t", "unsafe"};
  for (const std::string& command : commands) words.insert(words.end(), {"-c", command});
  words.push_back(path);
  return words;
}

}  // namespace

CommandResult patiently(const std::function<CommandResult()>& run) {
  using namespace std::chrono_literals;
  const auto end = std::chrono::steady_clock::now() + 120s;
  for (auto pause = 1ms;; pause = std::min(2 * pause, 500ms)) {
    CommandResult result = run();
    const bool is_chance =
        !result.ok() && result.err.find("accurate CPU usage") != std::string::npos;
    if (!is_chance || std::chrono::steady_clock::now() > end) return result;
    std::this_thread::sleep_for(pause);
  }
}

std::string qemu_img(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {"qemu-img"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return output_of(command);
}

std::string qemu_io(const std::string& path, const std::vector<std::string>& commands,
                    const std::string& format) {
  return output_of(qemu_io_words(path, commands, format));
}

void qemu_io_best_effort(const std::string& path, const std::vector<std::string>& commands) {
  output_of(qemu_io_words(path, commands, "qcow2"), 1);
}

std::string qemu_io_command(const Operation& operation) {
  const std::uint64_t begin = align_down(operation.guest_offset, kSectorBytes);
  const std::uint64_t end = align_up(operation.guest_offset + operation.length_bytes, kSectorBytes);
  const std::string range = fmt::format("{} {}", begin, end - begin);
  const std::string write = fmt::format("write -P {} ", operation.content % 256);
  switch (operation.kind) {
    case OperationKind::write:
    case OperationKind::write_in_place:
      return write + range;
    case OperationKind::write_compressed:
      return write + "-c " + range;
    case OperationKind::write_zeroes:
      return "write -z " + range;
    case OperationKind::write_zeroes_unmap:
      return "write -z -u " + range;
    case OperationKind::discard:
      return "discard " + range;
    case OperationKind::read:
      return "read " + range;
    case OperationKind::flush:
      return "flush";
    default:
      return {};
  }
}

std::vector<std::byte> read_by_reference(const std::string& path) {
  const std::string raw = path + ".raw";
  qemu_img({"convert", "-f", "qcow2", "-O", "raw", "-t", "unsafe", path, raw});
  return read_file(raw);
}

std::optional<std::string> ask_reference(const std::string& path,
                                         std::span<const std::byte> content) {
  const std::string raw = path + ".raw";
  write_file(raw, content);
  try {
    qemu_img({"check", "-f", "qcow2", path});
    qemu_img({"compare", "-f", "qcow2", "-F", "raw", path, raw});
    return std::nullopt;
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

std::vector<std::byte> read_file(const std::string& path) {
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error("cannot read " + path);
  return bytes;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace qcowkit::test

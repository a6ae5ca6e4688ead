#include "cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iterator>

#include "cli/sizes.h"

namespace weightfs::cli {
namespace {

constexpr int kWidthDefault = 80;
constexpr int kWidthMin = 40;
constexpr int kWidthMax = 10'000;
constexpr size_t kElasticWidthMin = 12;
constexpr std::string_view kGap = "  ";
constexpr std::string_view kEllipsis = "…";

/// Bytes of the UTF-8 sequence that begins `text`, or 0 when it is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xC2 && lead < 0xE0 ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return length;
}

/// U+0080 to U+009F: control characters of two bytes.
bool IsControl(std::string_view sequence) {
  const unsigned char lead = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return lead < 0x20 || lead == 0x7F;
  return lead == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

}  // namespace

int TerminalWidth(int fd) {
  int width = 0;
  winsize size = {};
  if (isatty(fd) == 1 && ioctl(fd, TIOCGWINSZ, &size) == 0) width = size.ws_col;
  if (const char* columns = std::getenv("COLUMNS"); width <= 0 && columns != nullptr)
    width = static_cast<int>(std::strtol(columns, nullptr, 10));
  if (width <= 0) width = kWidthDefault;
  return std::clamp(width, kWidthMin, kWidthMax);
}

size_t DisplayWidth(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; });
}

std::string Printable(std::string_view utf8) {
  std::string text;
  while (!utf8.empty()) {
    const size_t length = SequenceLength(utf8);
    if (length == 0 || IsControl(utf8.substr(0, length))) {
      text += '?';
    } else {
      text += utf8.substr(0, length);
    }
    utf8.remove_prefix(std::max<size_t>(length, 1));
  }
  return text;
}

std::string ElideMiddle(std::string_view utf8, size_t width) {
  if (DisplayWidth(utf8) <= width || width == 0) return std::string(utf8);
  const auto is_start = [&](size_t i) { return (static_cast<unsigned char>(utf8[i]) & 0xC0) != 0x80; };
  const size_t head_columns = (width - 1) / 2;
  const size_t tail_columns = width - 1 - head_columns;
  size_t head = 0;
  for (size_t columns = 0; head < utf8.size(); ++head)
    if (is_start(head) && columns++ == head_columns) break;
  size_t tail = utf8.size();
  for (size_t columns = 0; columns < tail_columns; --tail)
    if (is_start(tail - 1)) ++columns;
  std::string text(utf8.substr(0, head));
  text += kEllipsis;
  text += utf8.substr(tail);
  return text;
}

std::vector<std::string> WrapText(std::string_view utf8, size_t width) {
  std::vector<std::string> lines(1);
  while (!utf8.empty()) {
    const std::string_view word = utf8.substr(0, utf8.find(' '));
    utf8.remove_prefix(std::min(utf8.size(), word.size() + 1));
    if (!lines.back().empty() && DisplayWidth(lines.back()) + 1 + DisplayWidth(word) > width)
      lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += ElideMiddle(word, width);
  }
  return lines;
}

std::vector<size_t> TextTable::ColumnWidths(size_t width) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t widest = DisplayWidth(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[i]));
    widths.push_back(widest);
  }
  size_t total = kGap.size() * (widths.size() - 1);
  for (size_t column : widths) total += column;
  // The widest elastic column gives way first, so that no column shrinks while another is wider.
  while (total > width) {
    size_t widest = columns_.size();
    for (size_t i = 0; i < columns_.size(); ++i)
      if (columns_[i].elastic && widths[i] > kElasticWidthMin &&
          (widest == columns_.size() || widths[i] > widths[widest]))
        widest = i;
    if (widest == columns_.size()) break;
    --widths[widest];
    --total;
  }
  return widths;
}

std::string TextTable::Format(int width) const {
  const std::vector<size_t> widths = ColumnWidths(static_cast<size_t>(width));
  std::string text;
  const auto add_line = [&](const auto& cell_at) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string cell = ElideMiddle(cell_at(i), widths[i]);
      const std::string padding(widths[i] - std::min(widths[i], DisplayWidth(cell)), ' ');
      if (i > 0) line += kGap;
      line += columns_[i].right_aligned ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  add_line([&](size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) add_line([&](size_t i) -> const std::string& { return row[i]; });
  return text;
}

std::string FormatProgress(std::string_view verb, uint64_t done_bytes, uint64_t total_bytes, double seconds,
                           int width) {
  const double share = total_bytes == 0 ? 1.0 : std::min(1.0, static_cast<double>(done_bytes) / total_bytes);
  const double rate = seconds > 0 ? done_bytes / seconds : 0;
  const double left = rate > 0 ? (total_bytes - std::min(total_bytes, done_bytes)) / rate : 1e9;
  const std::string facts = fmt::format(" {:3.0f} %  {} of {} {}  {}/s  {} left", share * 100,
                                        FormatSize(done_bytes), FormatSize(total_bytes), verb,
                                        FormatSize(static_cast<uint64_t>(rate)), FormatDuration(left));
  const int bar_width = std::min(30, width - 3 - static_cast<int>(facts.size()));
  if (bar_width < 5) return facts.substr(1, std::max(0, width - 1));
  const int filled = static_cast<int>(share * bar_width);
  return fmt::format("[{:#<{}}{:.<{}}]{}", "", filled, "", bar_width - filled, facts);
}

Progress::Progress(std::string verb, uint64_t total_bytes)
    : verb_(std::move(verb)), total_bytes_(total_bytes) {
  if (isatty(STDERR_FILENO) != 1) return;
  // Signals that end the work must reach the main thread: it cleans up.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Draw(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Progress::~Progress() { Finish(); }

void Progress::Finish() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stopped_changed_.notify_all();
  thread_.join();
  std::fputs("\r\033[K", stderr);
}

void Progress::Draw() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  do {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const std::string line =
        FormatProgress(verb_, done_bytes(), total_bytes_, elapsed.count(), TerminalWidth(STDERR_FILENO));
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } while (!stopped_changed_.wait_for(lock, std::chrono::milliseconds(100), [this] { return stopped_; }));
}

}  // namespace weightfs::cli

/// \file
/// Terminals: width, aligned tables, a progress bar.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace weightfs::cli {

/// Columns to fill on file descriptor `fd`: of the terminal, or `COLUMNS`, or 80 where there is neither (a
/// pipe). Never below 40.
int TerminalWidth(int fd);

/// Columns that `utf8` takes: its code points (wide and combining characters are counted as one).
size_t DisplayWidth(std::string_view utf8);

/// `utf8` safe to print on a terminal: control characters and bytes that are not UTF-8 become `?`.
std::string Printable(std::string_view utf8);

/// `utf8` in at most `width` columns: what is too long loses its middle ("transformer.h…weight").
std::string ElideMiddle(std::string_view utf8, size_t width);

/// `utf8` in lines of at most `width` columns, broken at spaces; a word that is longer loses its middle.
std::vector<std::string> WrapText(std::string_view utf8, size_t width);

/// A table of text. Columns are as wide as their content; where that exceeds the width, elastic columns
/// shrink.
class TextTable {
 public:
  struct Column {
    std::string title;
    bool right_aligned = false;  ///< Numbers.
    bool elastic = false;        ///< May lose the middle of its cells.
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell for each column.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  /// The table with its titles, each line at most `width` columns as far as elastic columns allow.
  std::string Format(int width) const;

 private:
  std::vector<size_t> ColumnWidths(size_t width) const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// A line on stderr that is redrawn while work goes on: bytes, share, rate and time left. Nothing when stderr
/// is no terminal. Thread-safe.
class Progress {
 public:
  /// \param verb  "exported", "verified"
  Progress(std::string verb, uint64_t total_bytes);
  /// Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Add(uint64_t bytes) { done_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  uint64_t done_bytes() const { return done_bytes_.load(std::memory_order_relaxed); }
  /// Stops drawing and clears the line, so that a message can be printed.
  void Finish();

 private:
  void Draw();

  const std::string verb_;
  const uint64_t total_bytes_;
  std::atomic<uint64_t> done_bytes_{0};
  std::mutex mutex_;
  std::condition_variable stopped_changed_;
  bool stopped_ = false;
  std::thread thread_;
};

/// The progress line for `width` columns. `seconds` since the start.
std::string FormatProgress(std::string_view verb, uint64_t done_bytes, uint64_t total_bytes, double seconds,
                           int width);

}  // namespace weightfs::cli

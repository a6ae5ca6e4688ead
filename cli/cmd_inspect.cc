// weightfs inspect: what a source is, and what a mount would serve. Reads metadata only.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "cli/commands.h"
#include "cli/inspect_tensor.h"
#include "cli/messages.h"
#include "cli/sizes.h"
#include "cli/source.h"
#include "cli/terminal.h"

namespace weightfs::cli {
namespace {

/// Entries of a list that text shows; --json has them all.
constexpr size_t kListMax = 12;
constexpr size_t kLabelWidth = 12;

/// Lines under a label: "format      torch-zip". Cells that are too long lose their middle.
class Summary {
 public:
  explicit Summary(int width) : width_(static_cast<size_t>(width)) {}

  void Add(std::string_view label, std::string_view line) {
    const std::string shown(label == label_ ? "" : label);
    label_ = label;
    fmt::format_to(std::back_inserter(text_), "{:<{}}{}\n", shown, kLabelWidth,
                   ElideMiddle(Printable(line), width_ - kLabelWidth));
  }
  /// A sentence, over as many lines as it needs.
  void AddSentence(std::string_view label, std::string_view text) {
    label_.clear();
    for (const std::string& line : WrapText(Printable(text), width_ - kLabelWidth)) Add(label, line);
  }
  /// The first lines of a list, and how many more there are.
  template <typename List, typename ToLine>
  void AddList(std::string_view label, const List& list, const ToLine& to_line) {
    size_t count = 0;
    for (const auto& entry : list) {
      if (count == kListMax) {
        Add(label, fmt::format("... and {} more; --json lists all", FormatCount(list.size() - kListMax)));
        return;
      }
      Add(label, to_line(entry));
      ++count;
    }
  }
  std::string Take() && { return std::move(text_); }

 private:
  const size_t width_;
  std::string text_;
  std::string label_;
};

std::string Plural(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", FormatCount(count), noun, count == 1 ? "" : "s");
}

std::string JoinFirst(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < 3; ++i) text += (i > 0 ? ", " : "") + words[i];
  if (words.size() > 3) text += fmt::format(", ... ({} files)", words.size());
  return text;
}

void AddSet(Summary& summary, const WeightSetReport& set) {
  summary.Add("format", fmt::format("{}: {}", set.format, JoinFirst(set.source_files)));
  summary.Add("weights", fmt::format("{}: {}, {}{}", JoinFirst(set.files), Plural(set.tensor_count, "tensor"),
                                     FormatSize(set.tensor_bytes),
                                     set.passed_through ? ", the source file byte for byte" : ""));
  if (set.rank_count > 1)
    summary.Add("ranks",
                fmt::format("{} files, each with parts of the tensors", FormatCount(set.rank_count)));
  if (set.alias_bytes > 0)
    summary.Add("weights",
                fmt::format("{} of them repeat another tensor (aliases)", FormatSize(set.alias_bytes)));
  summary.AddList("mappings", set.candidates, [](const MappingCandidate& candidate) {
    // The root has no path to give: it is taken when nothing else is.
    const std::string how = candidate.chosen         ? ", taken"
                            : candidate.path.empty() ? ""
                                                     : fmt::format("; --weights {}", candidate.path);
    return fmt::format("{} {}: {}, {}{}", candidate.chosen ? "*" : " ",
                       candidate.path.empty() ? "(the root)" : candidate.path,
                       Plural(candidate.tensor_count, "tensor"), FormatSize(candidate.size_bytes), how);
  });
  summary.AddList("left out", set.left_out, [](const LeftOut& left_out) {
    return fmt::format("{}: {}", left_out.path, left_out.reason);
  });
  summary.AddList("metadata", set.metadata,
                  [](const auto& entry) { return fmt::format("{}: {}", entry.first, entry.second); });
}

void AddTypes(Summary& summary, const std::vector<TensorReport>& tensors) {
  struct Sum {
    uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Sum> sums;
  for (const TensorReport& tensor : tensors) {
    Sum& sum = sums[TypeText(tensor.view)];
    ++sum.tensors;
    sum.bytes += tensor.view.size_bytes();
  }
  for (const auto& [type, sum] : sums)
    summary.Add("dtypes",
                fmt::format("{}: {}, {}", type, Plural(sum.tensors, "tensor"), FormatSize(sum.bytes)));
}

std::string SummaryText(const OpenedSource& opened, int width) {
  const weightfs::Report& report = opened.report;
  Summary summary(width);
  summary.Add("source", report.source);
  summary.Add("family", report.family);
  summary.AddList("family", report.family_evidence, [](const std::string& line) { return "  " + line; });
  for (const WeightSetReport& set : report.sets) AddSet(summary, set);
  AddTypes(summary, report.tensors);
  const std::vector<ListedFile> files = ListFiles(opened.tree);
  summary.AddList("serves", files, [](const ListedFile& file) {
    return fmt::format("{:>8}  {}", FormatSize(file.size_bytes), file.path);
  });
  summary.AddList("hidden", report.hidden,
                  [](const auto& entry) { return fmt::format("{}: {}", entry.first, entry.second); });
  summary.AddList("dropped", report.dropped, [](const DroppedTensor& tensor) {
    return fmt::format("{}: {}", tensor.name, tensor.rule);
  });
  for (const std::string& note : report.notes) summary.AddSentence("note", note);
  return std::move(summary).Take();
}

/// The files of the parts that a tensor is made from: the first, and how many more.
std::string SourceText(const TensorReport& tensor) {
  if (tensor.sources.empty()) return "a constant";
  std::set<std::string_view> files;
  for (const TensorOrigin& source : tensor.sources) files.insert(source.file);
  const std::string& first = tensor.sources.front().file;
  return files.size() == 1 ? first : fmt::format("{} and {} more", first, files.size() - 1);
}

std::string TensorTable(const weightfs::Report& report, int width) {
  std::set<std::string> files, sources;
  for (const TensorReport& tensor : report.tensors)
    files.insert(tensor.file), sources.insert(SourceText(tensor));
  std::vector<TextTable::Column> columns = {
      {"tensor", false, true}, {"dtype"}, {"shape", false, true}, {"size", true}};
  if (files.size() > 1) columns.push_back({"served in", false, true});
  if (sources.size() > 1) columns.push_back({"source", false, true});
  TextTable table(std::move(columns));
  uint64_t total_bytes = 0;
  for (const TensorReport& tensor : report.tensors) {
    total_bytes += tensor.view.size_bytes();
    std::vector<std::string> row = {Printable(tensor.name), TypeText(tensor.view),
                                    ShapeText(tensor.view.shape()), FormatSize(tensor.view.size_bytes())};
    if (files.size() > 1) row.push_back(Printable(tensor.file));
    if (sources.size() > 1) row.push_back(Printable(SourceText(tensor)));
    table.AddRow(std::move(row));
  }
  std::string text = table.empty() ? "" : table.Format(width);
  fmt::format_to(std::back_inserter(text), "{}, {}\n", Plural(report.tensors.size(), "tensor"),
                 FormatSize(total_bytes));
  return text;
}

int InspectTensor(OpenedSource& opened, const CommandLine& line) {
  std::vector<TensorReport> found;
  for (const TensorReport& tensor : opened.report.tensors)
    if (tensor.name == *line.settings.tensor) found.push_back(tensor);
  if (found.empty())
    return ReportError(
        UsageError(fmt::format("{}: no tensor '{}' is served; expected one of those that 'weightfs inspect' "
                               "lists",
                               line.source, Printable(*line.settings.tensor)))
            .error(),
        Stage::kRunning);
  if (line.settings.json) {
    opened.report.tensors = std::move(found);
    return PrintOutput(ManifestJson(opened.report));
  }
  std::string text;
  for (const TensorReport& tensor : found) text += (text.empty() ? "" : "\n") + TensorText(tensor, line.settings.open.limits.cache_bytes);
  return PrintOutput(text);
}

}  // namespace

int RunInspect(const CommandLine& line) {
  Result<OpenedSource> opened = OpenSource(line);
  if (!opened) return ReportError(opened.error(), Stage::kOpening);
  if (line.settings.tensor) return InspectTensor(*opened, line);
  if (line.settings.json) return PrintOutput(InspectJson(opened->report));
  const int width = TerminalWidth(STDOUT_FILENO);
  return PrintOutput(SummaryText(*opened, width) + "\n" + TensorTable(opened->report, width));
}

}  // namespace weightfs::cli

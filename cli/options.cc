#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cli/messages.h"
#include "cli/sizes.h"

namespace weightfs::cli {
namespace {

constexpr CommandSet kMounting = Bit(Command::kMount) | Bit(Command::kRun);
constexpr CommandSet kStreaming = kMounting | Bit(Command::kVerify) | Bit(Command::kExport);
constexpr CommandSet kOpening = kStreaming | Bit(Command::kInspect);
constexpr CommandSet kReporting = Bit(Command::kInspect) | Bit(Command::kVerify) | Bit(Command::kStatus) |
                                  Bit(Command::kFamilies) | Bit(Command::kFormats) | Bit(Command::kDoctor);

constexpr uint32_t kThreadsMax = 256;
constexpr uint64_t kReadaheadBytesMin = 128_KiB;
constexpr uint64_t kReadaheadBytesMax = 16_MiB;

Status NotInThisVersion(std::string_view what) { return UsageError(fmt::format("does not apply: {}", what)); }

Status Store(const std::string& value, std::string_view what, std::string& destination) {
  if (value.empty()) return UsageError(fmt::format("the value is empty; expected {}", what));
  destination = value;
  return {};
}

Status Append(const std::string& value, std::string_view what, std::vector<std::string>& destination) {
  std::string text;
  WEIGHTFS_CHECK(Store(value, what, text));
  destination.push_back(std::move(text));
  return {};
}

Status ApplyDtype(const std::string& value, Settings& settings) {
  settings.open.dtype = DTypeFromOption(value);
  if (settings.open.dtype || value == "keep") return {};
  return UsageError(
      fmt::format("'{}' is not a type to cast to; expected keep, f32, f16, bf16 or f64", value));
}

Status ApplyTo(const std::string& value, Settings&) {
  if (value == "hf") return {};
  return NotInThisVersion(fmt::format("this version has no target '{}'; expected hf", value));
}

/// NAME, or NAME:KEY=VALUE:KEY=VALUE. Which names there are is known when the tables are.
Status ApplyFamily(const std::string& value, Settings& settings) {
  const size_t end = value.find(':');
  WEIGHTFS_CHECK(Store(value.substr(0, end), "auto, none or the name of a family", settings.open.family));
  settings.open.family_options.clear();
  for (size_t begin = end; begin != value.npos;) {
    const size_t next = value.find(':', begin + 1);
    const std::string option = value.substr(begin + 1, next == value.npos ? next : next - begin - 1);
    const size_t equals = option.find('=');
    if (equals == option.npos || equals == 0)
      return UsageError(fmt::format("'{}' is not an option of a family; expected KEY=VALUE", option));
    const bool is_new =
        settings.open.family_options.try_emplace(option.substr(0, equals), option.substr(equals + 1)).second;
    if (!is_new)
      return UsageError(fmt::format("'{}' is given twice; expected once", option.substr(0, equals)));
    begin = next;
  }
  return {};
}

Status ApplyVocabSize(const std::string& value, Settings& settings) {
  uint64_t size = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, size);
  if (error != std::errc() || stop != end || size == 0)
    return UsageError(fmt::format("'{}' is not a number of rows; expected 1 or more", value));
  settings.open.vocab_size = size;
  return {};
}

Status ApplyMaxShardSize(const std::string& value, Settings& settings) {
  WEIGHTFS_TRY(const uint64_t bytes, ParseSize(value));
  if (bytes == 0) return UsageError("a shard of no bytes holds nothing; expected a size such as 5GB");
  settings.open.max_shard_size_bytes = bytes;
  return {};
}

Status ApplyThreads(const std::string& value, Settings& settings) {
  uint32_t threads = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, threads);
  if (error != std::errc() || stop != end || threads == 0 || threads > kThreadsMax)
    return UsageError(fmt::format("'{}' is not a number of threads; expected 1 to {}", value, kThreadsMax));
  settings.threads = threads;
  return {};
}

Status ApplyReadahead(const std::string& value, Settings& settings) {
  WEIGHTFS_TRY(settings.readahead_bytes, ParseSize(value));
  if (settings.readahead_bytes >= kReadaheadBytesMin && settings.readahead_bytes <= kReadaheadBytesMax)
    return {};
  return UsageError(fmt::format("'{}' is out of range; expected 128KiB to 16MiB", value));
}

Status ApplySourceIo(const std::string& value, Settings& settings) {
  if (value == "auto") {
    settings.open.source_io = SourceIo::kAuto;
  } else if (value == "direct") {
    settings.open.source_io = SourceIo::kDirect;
  } else if (value == "buffered") {
    settings.open.source_io = SourceIo::kBuffered;
  } else {
    return UsageError(fmt::format("'{}' is not a way to read; expected auto, direct or buffered", value));
  }
  settings.source_io = value;
  return {};
}

constexpr std::array kOptions = {
    OptionSpec{"dtype", "TYPE", "cast float tensors: keep (default), f32, f16, bf16, f64 or torch's names",
               kOpening, false, ApplyDtype},
    OptionSpec{"to", "TARGET", "the layout to serve: hf (default)", kOpening, false, ApplyTo},
    OptionSpec{"family", "NAME[:KEY=VALUE]",
               "the model family: auto (default), none, or a name that families lists; with its options",
               kOpening, false, ApplyFamily},
    OptionSpec{"max-shard-size", "SIZE",
               "split weights into shards of at most SIZE, with an index; default: one file", kOpening, false,
               ApplyMaxShardSize},
    OptionSpec{"config", "FILE", "serve FILE as config.json", kOpening, false,
               [](const std::string& value, Settings& settings) {
                 return Store(value, "a file", settings.open.config_path);
               }},
    OptionSpec{"overlay", "DIR", "serve the files of DIR over those of SOURCE, and the parts that a pipeline lacks; repeatable",
               kOpening, true,
               [](const std::string& value, Settings& settings) {
                 return Append(value, "a folder", settings.open.overlays);
               }},
    OptionSpec{"rules", "FILE", "family tables of your own, beside the built-in ones",
               kOpening | Bit(Command::kFamilies), false,
               [](const std::string& value, Settings& settings) {
                 return Store(value, "a file", settings.open.rules_path);
               }},
    OptionSpec{"include", "RE", "serve only tensors whose name matches an RE2 pattern; repeatable", kOpening,
               true,
               [](const std::string& value, Settings& settings) {
                 return Append(value, "an RE2 pattern", settings.open.include);
               }},
    OptionSpec{"exclude", "RE", "leave out tensors whose name matches; wins over --include; repeatable",
               kOpening, true,
               [](const std::string& value, Settings& settings) {
                 return Append(value, "an RE2 pattern", settings.open.exclude);
               }},
    OptionSpec{"weights", "PATH",
               "which mapping or subtree to serve; of a DeepSpeed save master (default) or module; files "
               "beside a training state; inspect lists them",
               kOpening, false,
               [](const std::string& value, Settings& settings) {
                 return Store(value, "a key path such as model.state_dict", settings.open.weights_key_path);
               }},
    OptionSpec{"tag", "NAME", "which save of a folder that has several: its name or number", kOpening, false,
               [](const std::string& value, Settings& settings) {
                 return Store(value, "the name or number of a save", settings.open.tag);
               }},
    OptionSpec{"also", "DIR", "a further folder with rank files of the same save; repeatable", kOpening, true,
               [](const std::string& value, Settings& settings) {
                 return Append(value, "a folder", settings.open.also);
               }},
    OptionSpec{"allow-links", "DIR", "follow symbolic links of SOURCE that lead below DIR; repeatable",
               kOpening, true,
               [](const std::string& value, Settings& settings) {
                 return Append(value, "a folder", settings.open.allowed_link_dirs);
               }},
    OptionSpec{"trim-vocab", "", "drop the padding rows of embeddings, where the family can", kOpening, false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.open.trim_vocab = true;
                 return {};
               }},
    OptionSpec{"vocab-size", "N", "the number of embedding rows that are real, where the family asks",
               kOpening, false, ApplyVocabSize},
    OptionSpec{"tp", "N", "tensor-parallel ranks of the target", kOpening, false,
               [](const std::string&, Settings&) {
                 return NotInThisVersion("no target of this version has ranks");
               }},
    OptionSpec{"pp", "N", "pipeline-parallel ranks of the target", kOpening, false,
               [](const std::string&, Settings&) {
                 return NotInThisVersion("no target of this version has ranks");
               }},
    OptionSpec{"partial", "", "serve what is whole, and name what is left out", kOpening, false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.open.partial = true;
                 return {};
               }},
    OptionSpec{"cache", "SIZE", "memory for decompressed and strided data; default 64MiB", kOpening, false,
               [](const std::string& value, Settings& settings) -> Status {
                 WEIGHTFS_TRY(settings.open.limits.cache_bytes, ParseSize(value));
                 return {};
               }},
    OptionSpec{"threads", "N", "reads that run at once; default: from the number of processors", kStreaming,
               false, ApplyThreads},
    OptionSpec{"readahead", "SIZE", "the kernel's read-ahead for the mount, 128KiB to 16MiB; default 4MiB",
               kMounting, false, ApplyReadahead},
    OptionSpec{"direct-io", "", "do not keep served bytes in the page cache", kMounting, false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.direct_io = true;
                 return {};
               }},
    OptionSpec{"source-io", "HOW",
               "how SOURCE is read: auto (default), direct (past the page cache), buffered", kOpening, false,
               ApplySourceIo},
    OptionSpec{"allow-other", "", "let other users read the mount", kMounting, false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.allow_other = true;
                 return {};
               }},
    OptionSpec{"foreground", "", "stay in front until unmounted", Bit(Command::kMount), false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.foreground = true;
                 return {};
               }},
    OptionSpec{"json", "", "print JSON", kReporting, false,
               [](const std::string&, Settings& settings) -> Status {
                 settings.json = true;
                 return {};
               }},
    OptionSpec{"tensor", "NAME", "show where the bytes of one tensor come from", Bit(Command::kInspect),
               false,
               [](const std::string& value, Settings& settings) {
                 return Store(value, "the name of a tensor", settings.tensor.emplace());
               }},
    OptionSpec{
        "against", "DIR|MANIFEST", "compare with another checkpoint, or with what verify --json printed",
        Bit(Command::kVerify), false,
        [](const std::string& value,
           Settings&
               settings) { return Store(value, "a folder or a manifest", settings.against.emplace()); }},
};

constexpr std::array<std::string_view, kCommandCount> kCommandNames = {
    "mount", "umount", "run", "inspect", "verify", "export", "status", "families", "formats", "doctor"};

std::string CommandList(CommandSet commands) {
  std::string list;
  for (int i = 0; i < kCommandCount; ++i) {
    if ((commands & Bit(static_cast<Command>(i))) == 0) continue;
    if (!list.empty()) list += ", ";
    list += kCommandNames[i];
  }
  return list;
}

}  // namespace

std::span<const OptionSpec> AllOptions() { return kOptions; }

const OptionSpec* FindOption(std::string_view name) {
  const auto found =
      std::find_if(kOptions.begin(), kOptions.end(), [&](const auto& o) { return o.name == name; });
  return found == kOptions.end() ? nullptr : &*found;
}

Status ApplyOption(const OptionSpec& option, std::string_view shown, const std::string& value,
                   Command command, Settings& settings) {
  if ((option.commands & Bit(command)) == 0)
    return UsageError(fmt::format("{}: does not apply to '{}'; expected with {}", shown, CommandName(command),
                                  CommandList(option.commands)));
  const Status applied = option.apply(value, settings);
  if (!applied) return std::unexpected(applied.error().Within(shown));
  return {};
}

std::string_view CommandName(Command command) { return kCommandNames[static_cast<size_t>(command)]; }

std::optional<Command> FindCommand(std::string_view name) {
  const auto found = std::find(kCommandNames.begin(), kCommandNames.end(), name);
  if (found == kCommandNames.end()) return std::nullopt;
  return static_cast<Command>(found - kCommandNames.begin());
}

}  // namespace weightfs::cli

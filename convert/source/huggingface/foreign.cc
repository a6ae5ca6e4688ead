#include "convert/source/huggingface/foreign.h"

namespace weightfs {
namespace {

/// A file name that begins and ends so. Without a suffix it is the whole name.
struct Sign {
  std::string_view prefix;
  std::string_view suffix;
  bool is_folder_format;
  std::string_view format;
};

constexpr std::string_view kMegatron = "a Megatron checkpoint";
constexpr std::string_view kNemo = "a NeMo checkpoint";

/// In order of preference: the first that fits any file names the format.
constexpr Sign kSigns[] = {
    {"latest_checkpointed_iteration.txt", "", true, kMegatron},
    {"model_optim_rng.pt", "", true, kMegatron},
    {"model_weights.ckpt", "", true, kNemo},
    {"", ".nemo", false, kNemo},
};

bool Fits(const Sign& sign, const SourceEntry& entry) {
  if (entry.is_directory) return false;
  if (sign.suffix.empty()) return entry.name == sign.prefix;
  return entry.name.size() >= sign.prefix.size() + sign.suffix.size() &&
         entry.name.starts_with(sign.prefix) && entry.name.ends_with(sign.suffix);
}

}  // namespace

std::optional<ForeignSign> FindForeignSign(std::span<const SourceEntry> entries) {
  for (const Sign& sign : kSigns)
    for (const SourceEntry& entry : entries)
      if (Fits(sign, entry)) return ForeignSign{sign.format, entry.name, sign.is_folder_format};
  return std::nullopt;
}

}  // namespace weightfs

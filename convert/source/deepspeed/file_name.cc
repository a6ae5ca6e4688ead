#include "convert/source/deepspeed/file_name.h"

#include <fmt/format.h>

#include <charconv>

namespace weightfs {
namespace {

constexpr std::string_view kLz4Suffix = ".lz4";
constexpr size_t kDigitsMax = 9;

/// Takes words and numbers off the front of a name.
class NameReader {
 public:
  explicit NameReader(std::string_view rest) : rest_(rest) {}

  bool Word(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool Number(uint32_t& number) {
    size_t digits = 0;
    while (digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9') ++digits;
    if (digits == 0 || digits > kDigitsMax) return false;
    const std::string_view text = rest_.substr(0, digits);
    std::from_chars(text.data(), text.data() + text.size(), number);
    rest_.remove_prefix(digits);
    return true;
  }
  bool IsAtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool ReadModel(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kModel;
  return reader.Word("mp_rank_") && reader.Number(name.model_rank) && reader.Word("_model_states.pt") &&
         reader.IsAtEnd();
}

bool ReadPartition(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kPartition;
  return reader.Word("zero_pp_rank_") && reader.Number(name.data_rank) && reader.Word("_mp_rank_") &&
         reader.Number(name.model_rank) && reader.Word("_model_states.pt") && reader.IsAtEnd();
}

bool ReadOptimizer(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kOptimizer;
  if (!reader.Word("bf16_")) (void)reader.Word("fp16_");
  if (!reader.Word("zero_pp_rank_") || !reader.Number(name.data_rank) || !reader.Word("_mp_rank_") ||
      !reader.Number(name.model_rank))
    return false;
  (void)reader.Word("_");  // Old files lack it.
  return reader.Word("optim_states.pt") && reader.IsAtEnd();
}

bool ReadExpert(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kExpert;
  if (reader.Word("layer_") && (!reader.Number(name.layer) || !reader.Word("_"))) return false;
  return reader.Word("expert_") && reader.Number(name.expert) && reader.Word("_mp_rank_") &&
         reader.Number(name.model_rank) && reader.Word("_model_states.pt") && reader.IsAtEnd();
}

bool ReadExpertOptimizer(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kExpertOptimizer;
  return reader.Word("expp_rank_") && reader.Number(name.data_rank) && reader.Word("_mp_rank_") &&
         reader.Number(name.model_rank) && reader.Word("_optim_states.pt") && reader.IsAtEnd();
}

bool ReadLayer(NameReader reader, DeepSpeedFileName& name) {
  name.kind = DeepSpeedFileKind::kLayer;
  if (!reader.Word("layer_") || !reader.Number(name.layer) || !reader.Word("-")) return false;
  if (reader.Word("model_states.pt")) return reader.IsAtEnd();
  return reader.Word("model_") && reader.Number(name.model_rank) && reader.Word("-model_states.pt") &&
         reader.IsAtEnd();
}

}  // namespace

std::optional<DeepSpeedFileName> ParseDeepSpeedFileName(std::string_view name) {
  if (name.ends_with(kLz4Suffix)) name.remove_suffix(kLz4Suffix.size());
  using Reader = bool (*)(NameReader, DeepSpeedFileName&);
  for (const Reader read :
       {ReadModel, ReadPartition, ReadOptimizer, ReadExpert, ReadExpertOptimizer, ReadLayer}) {
    DeepSpeedFileName parsed;
    if (read(NameReader(name), parsed)) return parsed;
  }
  return std::nullopt;
}

std::string DeepSpeedFileNameText(const DeepSpeedFileName& name) {
  switch (name.kind) {
    case DeepSpeedFileKind::kModel:
      return fmt::format("mp_rank_{:02}_model_states.pt", name.model_rank);
    case DeepSpeedFileKind::kPartition:
      return fmt::format("zero_pp_rank_{}_mp_rank_{:02}_model_states.pt", name.data_rank, name.model_rank);
    case DeepSpeedFileKind::kOptimizer:
      return fmt::format("zero_pp_rank_{}_mp_rank_{:02}_optim_states.pt", name.data_rank, name.model_rank);
    case DeepSpeedFileKind::kExpert:
      return fmt::format("layer_{}_expert_{}_mp_rank_{:02}_model_states.pt", name.layer, name.expert,
                         name.model_rank);
    case DeepSpeedFileKind::kExpertOptimizer:
      return fmt::format("expp_rank_{}_mp_rank_{:02}_optim_states.pt", name.data_rank, name.model_rank);
    case DeepSpeedFileKind::kLayer:
      return fmt::format("layer_{:02}-model_{:02}-model_states.pt", name.layer, name.model_rank);
  }
  return {};
}

}  // namespace weightfs

#include "convert/source/huggingface/classify.h"

#include <charconv>
#include <optional>

namespace weightfs {
namespace {

constexpr std::string_view kLz4Suffix = ".lz4";
constexpr std::string_view kSafetensorsSuffix = ".safetensors";
constexpr std::string_view kBinSuffix = ".bin";

/// Stems that loaders know, as they are in `.bin` files and as they are served. `.safetensors` files have the
/// served ones. A stem may be followed by `_` or `-` and more (accelerate's `pytorch_model_1.bin`).
struct Stem {
  std::string_view in_bin;
  std::string_view served;
};
constexpr Stem kStems[] = {
    {"pytorch_model_fsdp", "model"},
    {"pytorch_model", "model"},
    {"diffusion_pytorch_model", "diffusion_pytorch_model"},
    {"adapter_model", "adapter_model"},
    {"pytorch_lora_weights", "pytorch_lora_weights"},
};

/// Names that are never shown, first match first. A pattern has at most one `*`.
struct HiddenName {
  std::string_view pattern;
  std::string_view reason;
  bool is_torch_file = false;
};
constexpr std::string_view kTrainingState = "training state";
constexpr std::string_view kOtherForm = "weights in a form that is not served";
constexpr std::string_view kOtherIndex = "the index of weights that are not served";
constexpr HiddenName kHiddenNames[] = {
    {".*", "dot-file"},
    {"params.json", "settings of the original weights, which would make loaders read those"},
    {"consolidated*", "the original weights beside the converted ones"},
    {"training_args.bin", "training arguments"},
    {"optimizer*.safetensors", kTrainingState},
    {"optimizer*.bin", kTrainingState},
    {"optimizer*.pt", kTrainingState},
    {"optim*.pt", kTrainingState},
    {"scheduler*.bin", kTrainingState},
    {"scheduler*.pt", kTrainingState},
    {"scaler*.pt", kTrainingState},
    {"sampler*.bin", kTrainingState},
    {"rng_state*", kTrainingState},
    {"random_states*", kTrainingState},
    {"custom_checkpoint_*.pkl", kTrainingState},
    {"*.bin", kOtherForm, true},
    {"*.pt", kOtherForm, true},
    {"*.pth", kOtherForm, true},
    {"*.ckpt", kOtherForm, true},
    {"*.distcp", kOtherForm},
    {"*.gguf", kOtherForm},
    {"*.h5", kOtherForm},
    {"*.msgpack", kOtherForm},
    {"*.onnx", kOtherForm},
    {"*.onnx_data", kOtherForm},
    {"*.ot", kOtherForm},
    {"*.tflite", kOtherForm},
    {"*.nemo", kOtherForm},
    {"*.onnx.data", kOtherForm},
    {"*.bin.index.json", kOtherIndex},
    {"*.h5.index.json", kOtherIndex},
    {"*.msgpack.index.json", kOtherIndex},
};

bool Matches(std::string_view name, std::string_view pattern) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return name == pattern;
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  return name.size() >= before.size() + after.size() && name.starts_with(before) && name.ends_with(after);
}

const HiddenName* FindHiddenName(std::string_view name) {
  for (const HiddenName& hidden : kHiddenNames)
    if (Matches(name, hidden.pattern)) return &hidden;
  return nullptr;
}

bool DropSuffix(std::string_view& name, std::string_view suffix) {
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

/// Five or six digits at the end of `text`, which is shortened; 0 when there are none.
uint32_t DropNumber(std::string_view& text) {
  size_t digits = 0;
  while (digits < text.size() && digits < 6 && text[text.size() - 1 - digits] >= '0' &&
         text[text.size() - 1 - digits] <= '9')
    ++digits;
  if (digits < 5) return 0;
  uint32_t number = 0;
  std::from_chars(text.data() + text.size() - digits, text.data() + text.size(), number);
  text.remove_suffix(digits);
  return number;
}

/// Takes `-00001-of-00002` (or `_00001-of-00002`) off the end of `body`.
void DropShardNumber(std::string_view& body, FileClass& file) {
  std::string_view rest = body;
  const uint32_t count = DropNumber(rest);
  if (count == 0 || !DropSuffix(rest, "-of-")) return;
  const uint32_t number = DropNumber(rest);
  if (number == 0 || number > count || rest.size() < 2 || (rest.back() != '-' && rest.back() != '_')) return;
  rest.remove_suffix(1);
  body = rest;
  file.shard_number = number;
  file.shard_count = count;
}

/// The served stem for `base`, when loaders know it.
std::optional<std::string> KnownStem(std::string_view base, bool is_safetensors) {
  for (const Stem& stem : kStems) {
    const std::string_view known = is_safetensors ? stem.served : stem.in_bin;
    if (!base.starts_with(known)) continue;
    const std::string_view rest = base.substr(known.size());
    if (rest.empty() || rest[0] == '_' || rest[0] == '-') return std::string(stem.served).append(rest);
  }
  return std::nullopt;
}

/// Splits what stands before the extension into stem, variant and shard number: `STEM.VARIANT-N-of-M`, or
/// `STEM-N-of-M.VARIANT` as older diffusers wrote it. False for a `.bin` of a stem that is not known.
bool ParseBody(std::string_view body, FileClass& file) {
  DropShardNumber(body, file);
  const size_t dot = body.find('.');
  std::string_view base = body.substr(0, dot);
  if (dot != body.npos && file.shard_number == 0) DropShardNumber(base, file);
  if (auto stem = KnownStem(base, file.is_safetensors)) {
    file.stem = *std::move(stem);
    if (dot != body.npos) file.variant = body.substr(dot + 1);
    return dot == body.npos || !file.variant.empty();
  }
  if (!file.is_safetensors) return false;
  if (base.size() != body.substr(0, dot).size()) file.shard_number = file.shard_count = 0;
  file.stem = body;
  return true;
}

/// `BODY.EXT.index.json`, `BODY.EXT.index.VARIANT.json`, or `BODY.EXT.VARIANT.index.json` of older diffusers.
bool ParseIndex(std::string_view name, FileClass& file) {
  if (!DropSuffix(name, ".json")) return false;
  for (const std::string_view extension : {kSafetensorsSuffix, kBinSuffix}) {
    const size_t at = name.rfind(std::string(extension) + ".");
    if (at == name.npos || at == 0) continue;
    file.is_safetensors = extension == kSafetensorsSuffix;
    std::string_view rest = name.substr(at + extension.size());
    if (!ParseBody(name.substr(0, at), file) || file.shard_number != 0) return false;
    if (rest == ".index") return true;
    constexpr std::string_view kIndexPrefix = ".index.";
    if (rest.starts_with(kIndexPrefix))
      rest.remove_prefix(kIndexPrefix.size());
    else if (DropSuffix(rest, ".index"))
      rest.remove_prefix(1);
    else
      return false;
    if (!file.variant.empty() || rest.empty()) return false;
    file.variant = rest;
    return true;
  }
  return false;
}

}  // namespace

FileClass ClassifyFileName(std::string_view name) {
  FileClass file;
  std::string_view plain_name = name;
  file.is_lz4 = DropSuffix(plain_name, kLz4Suffix);
  const HiddenName* hidden = FindHiddenName(plain_name);
  const bool may_be_weights = hidden == nullptr || hidden->reason == kOtherForm;
  std::string_view body = plain_name;
  if (may_be_weights &&
      ((file.is_safetensors = DropSuffix(body, kSafetensorsSuffix)) || DropSuffix(body, kBinSuffix)) &&
      ParseBody(body, file)) {
    file.role = FileRole::kWeights;
    return file;
  }
  FileClass index;
  if (!file.is_lz4 && !plain_name.starts_with('.') && !plain_name.starts_with("consolidated") &&
      ParseIndex(name, index)) {
    index.role = FileRole::kIndex;
    return index;
  }
  FileClass other;
  other.is_lz4 = file.is_lz4;
  if (hidden != nullptr) {
    other.role = FileRole::kHidden;
    other.hidden_reason = hidden->reason;
    other.is_torch_file = hidden->is_torch_file;
  }
  return other;
}

}  // namespace weightfs

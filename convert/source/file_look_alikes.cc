#include "convert/source/file_look_alikes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace weightfs {
namespace {

using namespace std::string_view_literals;

struct LookAlike {
  size_t offset;
  std::string_view magic;
  std::string_view what;
  std::string_view remedy;
};

constexpr LookAlike kLookAlikes[] = {
    {0, "version https://git-lfs"sv, "a git-lfs pointer, not the file it points to",
     "fetch the file: git lfs pull"},
    {0, "GGUF"sv, "a GGUF file", "use the checkpoint that it was made from"},
    {0, "tjgg"sv, "a GGML file", "use the checkpoint that it was made from"},
    {0, "lmgg"sv, "a GGML file", "use the checkpoint that it was made from"},
    {0, "fmgg"sv, "a GGML file", "use the checkpoint that it was made from"},
    {0, "7z\xBC\xAF\x27\x1C"sv, "a 7z archive", "unpack it first: 7z x FILE"},
    {0, "\x1F\x8B"sv, "gzip data", "unpack it first: gunzip FILE, or tar xzf FILE"},
    {0, "\xFD\x37zXZ\0"sv, "xz data", "unpack it first: unxz FILE, or tar xJf FILE"},
    {0, "\x28\xB5\x2F\xFD"sv, "zstd data",
     "unpack it first: unzstd FILE, or recompress it with lz4 -BI --content-size"},
    {0, "BZh"sv, "bzip2 data", "unpack it first: bunzip2 FILE, or tar xjf FILE"},
    {0, "Rar!\x1A\x07"sv, "a RAR archive", "unpack it first: unrar x FILE"},
    {0, "\x04\x22\x4D\x18"sv, "lz4 data", "unpack it first: unlz4 FILE"},
    {0, "PK\x05\x06"sv, "an empty zip archive", ""},
    {0, "\x89HDF\r\n\x1A\n"sv, "an HDF5 file (Keras or TensorFlow weights)", "convert it to PyTorch first"},
    {0, "\x93NUMPY"sv, "a numpy array (.npy)",
     "save a state dict: torch.save({'name': torch.from_numpy(a)}, FILE)"},
    {4, "PTMF"sv, "a TorchScript mobile file (FlatBuffer)", "use the checkpoint that it was made from"},
    {4, "TFL3"sv, "a TensorFlow Lite model", "use the checkpoint that it was made from"},
    {4, "ET12"sv, "an ExecuTorch program", "use the checkpoint that it was made from"},
    {0,
     "\x7F"
     "ELF"sv,
     "a program (ELF)", ""},
    {0, "%PDF"sv, "a PDF document", ""},
};

/// `text` without white space in front, in lower case.
std::string Folded(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  std::string result(begin == std::string_view::npos ? std::string_view() : text.substr(begin, 64));
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

bool IsPickle(std::string_view head) {
  return head.size() > 1 && head[0] == '\x80' && static_cast<uint8_t>(head[1]) >= 2 &&
         static_cast<uint8_t>(head[1]) <= 5;
}

/// An ONNX model begins with its version and the name of its producer.
bool IsOnnx(std::string_view head) {
  return head.size() > 3 && head[0] == '\x08' && head[1] > 0 && head[1] < 20 && head[2] == '\x12';
}

Error Unsupported(std::string_view file, std::string_view what, std::string_view remedy) {
  return Error{ErrorCode::kUnsupported, 0,
               fmt::format("{}: {}; expected a torch.save or safetensors file", file, what),
               std::string(remedy)};
}

std::string FirstBytes(std::string_view head) {
  std::string text;
  for (const char c : head.substr(0, 8)) text += fmt::format(" {:02x}", static_cast<uint8_t>(c));
  return text;
}

}  // namespace

Error DescribeLookAlike(std::string_view head, std::string_view file) {
  if (head.empty())
    return Error{ErrorCode::kCorrupt,
                 0,
                 fmt::format("{}: an empty file; expected a torch.save or safetensors file", file),
                 {}};
  for (const LookAlike& look_alike : kLookAlikes)
    if (head.size() > look_alike.offset && head.substr(look_alike.offset).starts_with(look_alike.magic))
      return Unsupported(file, look_alike.what, look_alike.remedy);
  const std::string text = Folded(head);
  if (text.starts_with("<!doctype html") || text.starts_with("<html"))
    return Unsupported(file, "an HTML page",
                       "the download gave a page instead of the file: download it again");
  if (text.starts_with("<?xml")) return Unsupported(file, "an XML document", "download the file again");
  if (text.starts_with("{") || text.starts_with("["))
    return Unsupported(file, "a JSON text", "give the weight file, or the folder that holds it");
  if (IsPickle(head))
    return Unsupported(file, "a pickle that torch.save did not write (torch's magic number is not in front)",
                       "load it with the program that wrote it, and save a state dict with torch.save");
  if (IsOnnx(head)) return Unsupported(file, "an ONNX model", "use the checkpoint that it was made from");
  if (std::ranges::all_of(head, [](char c) { return c == '\0'; }))
    return Error{
        ErrorCode::kCorrupt, 0,
        fmt::format("{}: the file begins with zeros only; expected a torch.save or safetensors file", file),
        "is it a download that was not finished? download it again"};
  return Error{ErrorCode::kCorrupt,
               0,
               fmt::format("{}: not a checkpoint file: it begins with the bytes{}; expected a torch.save or "
                           "safetensors file",
                           file, FirstBytes(head)),
               {}};
}

}  // namespace weightfs

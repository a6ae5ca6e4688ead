#include "convert/source/dcp/sharding_info.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "convert/base/json.h"
#include "convert/source/utf8.h"

namespace weightfs {

Result<std::optional<ShardingInfo>> ReadShardingInfo(const std::map<std::string, std::string>& metadata,
                                                     std::string_view file, const Limits& limits) {
  const auto text = metadata.find("DCP_SHARDING_INFO");
  if (text == metadata.end()) return std::nullopt;
  const std::string where = fmt::format("{}: DCP_SHARDING_INFO", file);
  JsonOptions options;
  options.bytes_max = limits.emitted_header_bytes_max;
  WEIGHTFS_TRY(const nlohmann::ordered_json json, ParseJson(text->second, where, options));
  const auto corrupt = [&](std::string_view what) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {}; expected {{\"NAME\": {{\"saved_offsets\": [integers]}}}}", where, what));
  };
  if (!json.is_object()) return corrupt(json.type_name());
  ShardingInfo info;
  for (const auto& [name, value] : json.items()) {
    const auto offsets = value.is_object() ? value.find("saved_offsets") : value.end();
    if (!value.is_object() || offsets == value.end() || !offsets->is_array())
      return corrupt(fmt::format("{} without saved_offsets", Quoted(name)));
    Shape& shape = info[name];
    for (const auto& offset : *offsets) {
      if (!offset.is_number_unsigned())
        return corrupt(fmt::format("an offset of {} that is no number", Quoted(name)));
      shape.push_back(offset.get<uint64_t>());
    }
  }
  return info;
}

}  // namespace weightfs

#include "convert/base/result.h"

#include <system_error>

namespace weightfs {

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kAmbiguous: return "ambiguous";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kLimitExceeded: return "limit_exceeded";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kStale: return "stale";
    case ErrorCode::kInternal: return "internal";
  }
  return "internal";
}

Error Error::Within(std::string_view prefix) const {
  Error result = *this;
  result.message.clear();
  size_t begin = 0;
  while (true) {
    const size_t end = message.find('\n', begin);
    result.message.append(prefix).append(": ").append(message, begin, end - begin);
    if (end == std::string::npos) return result;
    result.message.push_back('\n');
    begin = end + 1;
  }
}

std::unexpected<Error> Fail(ErrorCode code, std::string message, std::string remedy) {
  return std::unexpected(Error{code, 0, std::move(message), std::move(remedy)});
}

std::unexpected<Error> FailIo(int error_number, std::string_view what) {
  std::string message(what);
  message.append(": ").append(std::generic_category().message(error_number));
  return std::unexpected(Error{ErrorCode::kIo, error_number, std::move(message), {}});
}

}  // namespace weightfs

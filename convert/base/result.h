/// \file
/// The one error idiom of `convert`: every function that can fail returns `Result<T>`.
///
/// No exception crosses the boundary of `convert`; what a third-party library throws is caught where it is called.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace weightfs {

/// What went wrong, in the terms a caller acts on.
enum class ErrorCode : uint8_t {
  kInvalidArgument,  ///< The caller's fault: an option, a pattern, a name that is not there to choose.
  kAmbiguous,        ///< Several readings fit and an option must choose (`--tag`, `--family`, `--weights`).
  kNotFound,         ///< A file, shard, tensor or key that must be there is absent.
  kCorrupt,          ///< The source violates its format.
  kUnsupported,      ///< The source is recognised, and is of a kind that is not served.
  kLimitExceeded,    ///< A named limit (see limits.h) would be exceeded.
  kIo,               ///< The operating system reported an error; `error_number` says which.
  kStale,            ///< The source changed after it was opened.
  kInternal,         ///< A bug in weightfs.
};

/// The stable lower-case word for `code`, as it appears in JSON ("corrupt", "not_found", ...).
std::string_view ErrorCodeName(ErrorCode code);

/// An error: its class, a message and what to do about it. A value; safe to move between threads.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  int error_number = 0;  ///< errno for `kIo` (and ESTALE for `kStale`), else 0.
  /// One cause per line, no trailing newline: `FILE: what; expected what`.
  std::string message;
  /// What the user can do, one line, or empty.
  std::string remedy;

  /// The same error with `prefix + ": "` put before each cause.
  Error Within(std::string_view prefix) const;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

/// Builds the unexpected value of a `Result`: `return Fail(ErrorCode::kCorrupt, "...")`.
std::unexpected<Error> Fail(ErrorCode code, std::string message, std::string remedy = {});

/// Builds a `kIo` failure; the text of `error_number` is appended to `what`.
std::unexpected<Error> FailIo(int error_number, std::string_view what);

#define WEIGHTFS_CONCAT_INNER(a, b) a##b
#define WEIGHTFS_CONCAT(a, b) WEIGHTFS_CONCAT_INNER(a, b)

/// Evaluates a `Status` or `Result` and returns its error from the enclosing function.
#define WEIGHTFS_CHECK(expression)                                                                   \
  do {                                                                                               \
    if (auto weightfs_status = (expression); !weightfs_status) [[unlikely]]                          \
      return std::unexpected(std::move(weightfs_status).error());                                    \
  } while (false)

/// `WEIGHTFS_TRY(auto x, F())`: declares `x` from a `Result`, or returns its error from the enclosing function.
#define WEIGHTFS_TRY(declaration, expression) \
  WEIGHTFS_TRY_INNER(WEIGHTFS_CONCAT(weightfs_result_, __LINE__), declaration, expression)
#define WEIGHTFS_TRY_INNER(temporary, declaration, expression)             \
  auto temporary = (expression);                                           \
  if (!temporary) [[unlikely]]                                             \
    return std::unexpected(std::move(temporary).error());                  \
  declaration = *std::move(temporary)

}  // namespace weightfs

// Result and Error: how every function of Layerboot that can fail says so.
//
// No exception crosses a floor. An errno enters through errno_error() and leaves through the two
// doors (vfsd/fuse/reply.cc, oci-mount/mount/fuse_ops.cc); in between it travels as a value.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "oci-mount/base/str_cat.h"

namespace layerboot {

/// Why an operation failed. `code` is an errno value and is what a guest sees; `text` is for a
/// person and names what failed, on what, and what to do next. It is empty where a guest's everyday
/// error (ENOENT, EEXIST) is made, so that such an Error costs no allocation.
struct [[nodiscard]] Error {
  int code = EIO;
  std::string text;

  /// `text`, or the errno's own wording where there is none.
  [[nodiscard]] std::string describe() const;
};

template <typename T>
using Result = std::expected<T, Error>;

/// An Error ready to return from a function that gives a Result.
template <typename... Parts>
[[nodiscard]] std::unexpected<Error> fail(int code, const Parts&... parts) {
  return std::unexpected(Error{code, str_cat(parts...)});
}

/// The one door for errno: reads it, and appends its wording to `parts`.
/// REQUIRES: called directly after the failed call.
template <typename... Parts>
[[nodiscard]] std::unexpected<Error> errno_error(const Parts&... parts) {
  const int code = errno;
  return std::unexpected(Error{code, str_cat(parts..., ": ", Error{code, {}}.describe())});
}

/// Passes an error on, saying what was being done when it happened.
template <typename... Parts>
[[nodiscard]] std::unexpected<Error> while_doing(const Error& error, const Parts&... parts) {
  return std::unexpected(Error{error.code, str_cat(parts..., ": ", error.describe())});
}

}  // namespace layerboot

// Propagation. LB_TRY(expr) returns expr's error from this function; LB_ASSIGN(decl, expr) declares
// or assigns the value otherwise. The LB_CO_ forms are for coroutines.
#define LB_CONCAT_INNER(a, b) a##b
#define LB_CONCAT(a, b) LB_CONCAT_INNER(a, b)
#define LB_TRY_IMPL(ret, tmp, expr)                        \
  do {                                                     \
    auto tmp = (expr);                                     \
    if (!tmp) ret std::unexpected(std::move(tmp).error()); \
  } while (false)
#define LB_ASSIGN_IMPL(ret, tmp, decl, expr)             \
  auto tmp = (expr);                                     \
  if (!tmp) ret std::unexpected(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define LB_TRY(expr) LB_TRY_IMPL(return, LB_CONCAT(lb_try_, __LINE__), expr)
#define LB_ASSIGN(decl, expr) LB_ASSIGN_IMPL(return, LB_CONCAT(lb_try_, __LINE__), decl, expr)
#define LB_CO_TRY(expr) LB_TRY_IMPL(co_return, LB_CONCAT(lb_try_, __LINE__), expr)
#define LB_CO_ASSIGN(decl, expr) LB_ASSIGN_IMPL(co_return, LB_CONCAT(lb_try_, __LINE__), decl, expr)

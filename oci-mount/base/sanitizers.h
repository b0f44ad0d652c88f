// Which sanitizer this build has in it, if any: its run-time library makes calls and a thread of its own.
// Where it is ThreadSanitizer, LAYERBOOT_THREAD_SANITIZER is defined, with the library's own functions.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define LAYERBOOT_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LAYERBOOT_THREAD_SANITIZER
#endif
#endif
#ifdef LAYERBOOT_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace layerboot {

// g++ and clang say it differently.
#if defined(__has_feature)
inline constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
inline constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#endif

inline constexpr bool kSanitizer = kAddressSanitizer || kThreadSanitizer;

}  // namespace layerboot

// Whether this is a build under a sanitizer, where a test may try fewer sizes: the numbers are the
// release build's to check, and a race or a stray byte shows at the first size that takes the path.
#pragma once

namespace ds::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kUnderAsan = true;
#else
inline constexpr bool kUnderAsan = false;
#endif

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderTsan = true;
#else
inline constexpr bool kUnderTsan = false;
#endif

}  // namespace ds::test

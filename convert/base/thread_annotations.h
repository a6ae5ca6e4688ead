/// \file
/// Names for clang's thread-safety analysis (-Wthread-safety); nothing with other compilers.
#pragma once

#if defined(__clang__)
#define WEIGHTFS_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define WEIGHTFS_THREAD_ANNOTATION(x)
#endif

/// The class is a lock.
#define WEIGHTFS_CAPABILITY(name) WEIGHTFS_THREAD_ANNOTATION(capability(name))
/// The class holds a lock for as long as it lives.
#define WEIGHTFS_SCOPED_CAPABILITY WEIGHTFS_THREAD_ANNOTATION(scoped_lockable)
/// The member may be used only with the lock held.
#define WEIGHTFS_GUARDED_BY(lock) WEIGHTFS_THREAD_ANNOTATION(guarded_by(lock))
/// What the pointer points at may be used only with the lock held.
#define WEIGHTFS_PT_GUARDED_BY(lock) WEIGHTFS_THREAD_ANNOTATION(pt_guarded_by(lock))
/// The function takes the lock and returns with it held.
#define WEIGHTFS_ACQUIRE(...) WEIGHTFS_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
/// The function gives the lock back.
#define WEIGHTFS_RELEASE(...) WEIGHTFS_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
/// The function may be called only with the lock held.
#define WEIGHTFS_REQUIRES(...) WEIGHTFS_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
/// The function may be called only without the lock: it takes it, or runs foreign code.
#define WEIGHTFS_EXCLUDES(...) WEIGHTFS_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

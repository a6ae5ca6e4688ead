/// \file
/// The one include of libfuse's low-level API, so that every file sees the same version of it.
#pragma once

// 317 changes how capabilities are negotiated; CMake chooses it where the headers are that new.
#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif

#include <fuse_lowlevel.h>

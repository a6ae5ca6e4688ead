// A program of somebody else: opens a checkpoint with the installed library and prints its tensors.
#include <convert/convert.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto opened = weightfs::Open(argv[1], {});
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().message.c_str());
    return 3;
  }
  for (const weightfs::TensorReport& tensor : opened->report.tensors) std::printf("%s\n", tensor.name.c_str());
  return 0;
}

#include "builder/build.h"

#include "api/translate.h"

namespace quern::v1 {

void build(const BuildOptions& options) {
  translated([&] {
    quern::BuildOptions build{.source = options.source,
                              .output = options.output,
                              .dtype = options.dtype,
                              .group_size = options.group_size,
                              .num_threads = options.num_threads};
    if (options.progress) {
      build.progress = [&](const BuildProgress& progress) {
        const double share =
            progress.num_bytes == 0 ? 0 : static_cast<double>(progress.bytes_done) / static_cast<double>(progress.num_bytes);
        options.progress(share, progress.tensor);
      };
    }
    build_engine(build);
  });
}

}  // namespace quern::v1

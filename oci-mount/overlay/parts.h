// Parts: what a writable union is made of, in the order of need. The operations (overlay.h) use these, and
// own nothing else.
//
//   Places      where objects are on the host           NodeTable    which numbers the client may use
//   Ledger      what each object is charged             Objects      how they come into memory, and go
//   Burials     large files that are being freed        LostNames    link counts of the image's files
//   Directories merged names and listings               CopyUp       bodies for objects of the image
//   Settling    what the host allocates late
#pragma once

#include <utility>

#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/burials.h"
#include "oci-mount/overlay/copy_up.h"
#include "oci-mount/overlay/directories.h"
#include "oci-mount/overlay/file_turns.h"
#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/lost_names.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/node_table.h"
#include "oci-mount/overlay/objects.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"
#include "oci-mount/overlay/settling.h"

namespace layerboot::overlay {

/// Lock rule: `mutex` guards all Nodes, and all parts but where a header says lock-free. Whoever does not say
/// otherwise holds it whole. It is never held while a Task waits.
struct Parts {
  /// What `image` refers to, `worker_pool`, and `memory_in`, which pays for what the parts keep, outlive it.
  Parts(Lower image, Places host, Quota::Limits limits, Quota::Usage used, WorkerPool& worker_pool,
        MemoryBudget& memory_in)
      : lower(image),
        workers(worker_pool),
        memory(memory_in),
        places(std::move(host)),
        ledger(places.upper().tariff(), limits, used, places.upper().root_fd()) {
    places.close_by(mutex.closing());
    ledger.wait_for(burials);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  const Lower lower;
  WorkerPool& workers;
  MemoryBudget& memory;
  OverlayLock mutex;
  Places places;
  Ledger ledger;
  Burials burials{workers};
  NodeTable nodes{lower.tree, memory};
  LowerPaths paths{lower.tree, memory};
  Objects objects{lower, paths, places, ledger, nodes, memory, mutex, burials};
  Directories directories{lower, places, ledger, nodes, objects, memory};
  LostNames lost_names{lower, nodes, objects, directories};
  CopyUp copy_up{lower, paths, places, ledger, nodes, objects, directories, mutex};
  FileTurns file_turns{mutex};
  Settling settling{places, ledger, objects, mutex, workers};
};

}  // namespace layerboot::overlay

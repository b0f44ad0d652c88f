#include "bench/load_run.h"

#include <atomic>
#include <thread>
#include <vector>

#include "bench/latencies.h"
#include "bench/process_usage.h"

namespace layerboot::bench {

namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count());
}

/// What the threads share, besides their own counts.
struct Control {
  std::atomic<bool> measuring{false};
  std::atomic<bool> ending{false};
};

struct Counts {
  std::uint64_t operations = 0;
  std::uint64_t data_bytes = 0;
};

/// One lane's share of the run.
struct Driver {
  Lane& lane;
  std::unique_ptr<Workload> workload;
  const Control& control;
  std::atomic<std::uint64_t> operations{0};  // read by the main thread while it goes on
  std::atomic<std::uint64_t> data_bytes{0};
  Latencies latencies;
  Result<void> outcome;

  void start(Slot& slot, std::uint64_t now) {
    workload->begin(slot);
    slot.started_ns = now;
    lane.offer(slot);
  }

  Result<void> run() {
    std::size_t in_flight = 0;
    for (Slot& slot : lane.slots()) {
      start(slot, now_ns());
      ++in_flight;
    }
    lane.flush();
    while (in_flight > 0) {
      LB_TRY(lane.wait());
      const bool measuring = control.measuring.load(std::memory_order_relaxed);
      const bool ending = control.ending.load(std::memory_order_relaxed);
      const std::uint64_t now = now_ns();
      Counts counts;
      std::uint32_t used_length = 0;
      while (Slot* const slot = lane.take(used_length)) {
        if (!slot->reply_is_sound(used_length)) return fail(EBADMSG, "a reply with wrong lengths");
        const auto reply = workload->finish(*slot);
        if (reply.wrong != nullptr) return fail(EBADMSG, reply.wrong, " (error ", slot->out().error, ")");
        counts.operations += reply.operations;
        counts.data_bytes += reply.data_bytes;
        if (!reply.operation_done) {
          lane.offer(*slot);
          continue;
        }
        if (measuring) latencies.add(now - slot->started_ns);
        if (ending) {
          --in_flight;
        } else {
          start(*slot, now);
        }
      }
      operations.store(operations.load(std::memory_order_relaxed) + counts.operations,
                       std::memory_order_relaxed);
      data_bytes.store(data_bytes.load(std::memory_order_relaxed) + counts.data_bytes,
                       std::memory_order_relaxed);
      lane.flush();
    }
    return {};
  }
};

struct Snapshot {
  Clock::time_point time;
  ProcessUsage usage;
  Counts counts;
  std::uint64_t interrupts = 0;
  std::uint64_t kicks = 0;
};

Snapshot snapshot(std::span<const std::unique_ptr<Driver>> drivers, std::span<Lane> lanes, pid_t server) {
  Snapshot shot{Clock::now(), usage_of(server), {}, 0, 0};
  for (const auto& driver : drivers) {
    shot.counts.operations += driver->operations.load(std::memory_order_relaxed);
    shot.counts.data_bytes += driver->data_bytes.load(std::memory_order_relaxed);
  }
  for (const Lane& lane : lanes) {
    shot.interrupts += lane.interrupts();
    shot.kicks += lane.kicks();
  }
  return shot;
}

}  // namespace

Result<LoadResult> run_load(const WorkloadSpec& spec, const ServedTree& tree, std::span<Lane> lanes,
                            pid_t server, LoadTimes times) {
  Control control;
  std::vector<std::unique_ptr<Driver>> drivers;
  for (unsigned i = 0; i < lanes.size(); ++i) {
    LB_TRY(lanes[i].set_up(spec.depth, spec.data_bytes));
    drivers.push_back(std::make_unique<Driver>(lanes[i], spec.make(tree, i), control));
  }
  std::vector<std::thread> threads;
  for (const auto& driver : drivers) {
    threads.emplace_back([one = driver.get()] { one->outcome = one->run(); });
  }
  std::this_thread::sleep_for(times.warm_up);
  const Snapshot before = snapshot(drivers, lanes, server);
  control.measuring.store(true, std::memory_order_relaxed);
  std::this_thread::sleep_for(times.measured);
  control.measuring.store(false, std::memory_order_relaxed);
  const Snapshot after = snapshot(drivers, lanes, server);
  control.ending.store(true, std::memory_order_relaxed);
  for (auto& thread : threads) thread.join();

  Latencies latencies;
  for (const auto& driver : drivers) {
    if (!driver->outcome) return while_doing(driver->outcome.error(), spec.name, " at depth ", spec.depth);
    latencies.add(driver->latencies);
  }
  const double seconds = std::chrono::duration<double>(after.time - before.time).count();
  const auto operations = static_cast<double>(after.counts.operations - before.counts.operations);
  if (operations == 0) return fail(ETIMEDOUT, spec.name, " at depth ", spec.depth, ": no operation was done");
  LoadResult result;
  result.workload = spec.name;
  result.depth = spec.depth;
  result.queues = static_cast<unsigned>(lanes.size());
  result.operations_per_second = operations / seconds;
  result.megabytes_per_second =
      static_cast<double>(after.counts.data_bytes - before.counts.data_bytes) / seconds / 1e6;
  result.p50_us = latencies.percentile_us(50);
  result.p99_us = latencies.percentile_us(99);
  result.interrupts_per_operation = static_cast<double>(after.interrupts - before.interrupts) / operations;
  result.kicks_per_operation = static_cast<double>(after.kicks - before.kicks) / operations;
  result.cpu_us_per_operation =
      static_cast<double>(after.usage.cpu_ns - before.usage.cpu_ns) / 1000.0 / operations;
  result.private_bytes = after.usage.private_bytes;
  result.descriptors = after.usage.descriptors;
  return result;
}

}  // namespace layerboot::bench

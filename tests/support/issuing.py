"""Many processes that issue at once, for the tests of the registry.

    python -m tests.support.issuing PLACE NUM_PROCESSES NUM_EACH

Process p registers licensees p-0, p-1, ... one by one and records an instance of each. All begin
together, when `ready` has been printed. No TensorFlow: starting has to be quick.
"""

import os
import sys
from multiprocessing import Barrier
from multiprocessing.synchronize import Barrier as BarrierType

from fingerprints.registry.facade import Registry

MODEL = ("a" * 64, "b" * 64, 64, "model")
MIN_DISTANCE = 16


def issue(place: str, process: int, num_each: int, barrier: BarrierType) -> None:
    """What one process does."""
    with Registry.open(place) as registry:
        model = registry.add_model(*MODEL)
        barrier.wait()
        for number in range(num_each):
            licensee = f"{process}-{number}"
            found = registry.reserve(model, [(licensee, "")], min_distance=MIN_DISTANCE)[0]
            registry.record_issue(found, f"instance of {found.id}", "pkl", "manifest")


def main() -> int:
    """Starts the processes and waits for them; returns how many failed."""
    place, num_processes, num_each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    barrier = Barrier(num_processes + 1, timeout=60)  # seconds; one that fails holds up none
    children = []
    for process in range(num_processes):
        # Plain forks, before any thread or connection: starting Python 16 times takes long.
        if (child := os.fork()) == 0:
            status = 1
            try:
                issue(place, process, num_each, barrier)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    barrier.wait()
    print("ready", flush=True)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())

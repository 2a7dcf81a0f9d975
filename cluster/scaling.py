"""How many replicas a model should have: by the work that waits, and not only by how many requests there are.

Ray Serve asks the policy some times a second. It keeps to ``min_replicas``, ``max_replicas`` and the delays by itself,
and brings up the first replica of a model that has none. It pickles this module by value: nothing but the standard
library may be imported here.
"""

from collections.abc import Mapping
from typing import Any

WAITING = "waiting_s"
EACH = "request_s"
"""What a replica tells of itself: see ``ModelReplica.record_autoscaling_stats``."""


class ByWork:
    """The policy of every model that scales.

    Args:
        target_wait_s: seconds of work that may wait in a replica (>0).
    """

    def __init__(self, target_wait_s: float) -> None:
        self._target_wait_s = target_wait_s

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Ray's call: replicas wanted, and no state."""
        running = context.current_num_replicas
        if not running:
            return context.target_num_replicas, {}
        told = context.aggregated_metrics or {}
        by_requests = context.total_num_requests / context.config.get_target_ongoing_requests()
        by_work = work_s(told, context.total_queued_requests or 0.0) / self._target_wait_s
        return max(by_requests, by_work), {}


def work_s(told: Mapping[str, Mapping[Any, float]], queued: float) -> float:
    """Seconds of one replica for all that waits, in replicas and for them.

    Two replicas that have 3 s and 1 s of work, 8 requests that wait for a replica and take 0.5 s each: 8 s.

    Args:
        told: by name and replica, what they tell.
        queued: requests that no replica has yet.
    """
    each = told.get(EACH, {})
    mean = sum(each.values()) / len(each) if each else 0.0
    return sum(told.get(WAITING, {}).values()) + queued * mean

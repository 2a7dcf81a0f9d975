"""What the process of every replica does first: where its logs go, and how many threads torch has."""

import logging

from deployments.refusals import Refusals


def join_logs() -> None:
    """What the stages log goes to Serve's file in Serve's format, and not to standard error; refusals are no errors."""
    served = logging.getLogger("ray.serve")
    logging.getLogger("pipeline_graph").parent = served
    if not any(isinstance(one, Refusals) for one in served.filters):  # once, however many models the process loads
        served.addFilter(Refusals())


def set_threads(num_cpus: float) -> None:
    """One torch thread for each whole CPU of the replica: more would spin against other replicas."""
    import torch

    torch.set_num_threads(max(1, int(num_cpus)))

"""How Ray Data runs the workers of a job: an autoscaling pool of actors with the resources of a model's replica."""

from typing import Any

from cluster.options import serve_options
from graph.jobs.settings import Engine, Pool

_SERVED_CPUS = 0.1  # of a worker that only asks a graph
_MOST_LOST = 8  # times that a worker, or a unit, is begun again: a row that ends its worker must not do so for ever


def pool_options(engine: Engine, pool: Pool, together: int = 1) -> dict[str, Any]:
    """Keyword arguments of ``Dataset.map_batches``.

    Args:
        engine: what answers; its model's ``resources`` are those of a worker.
        pool: bounds on the number of workers.
        together: calls of a worker at a time (>=1).
    """
    from ray.data import ActorPoolStrategy

    compute = ActorPoolStrategy(
        min_size=pool.min_size,
        max_size=pool.max_size,
        max_tasks_in_flight_per_actor=max(2, together),
        max_concurrent_calls_per_actor=together,
        enable_true_multi_threading=together > 1,
    )
    lost = {"max_restarts": _MOST_LOST, "max_task_retries": _MOST_LOST}
    if engine.url is not None:
        return {"compute": compute, "num_cpus": _SERVED_CPUS, **lost}
    resources = engine.model.resources
    options = {
        "compute": compute,
        **lost,
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus or None,
        "memory": resources.memory_bytes,
        "runtime_env": serve_options(engine.model)["ray_actor_options"]["runtime_env"],
    }
    return {name: value for name, value in options.items() if value is not None}

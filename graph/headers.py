"""What happened to a request → headers of its answer."""

from collections.abc import Sequence

from deployments.payload import TaskResult


def times(results: Sequence[TaskResult], total_s: float) -> dict[str, str]:
    """Stage times in milliseconds, of the slowest item where there are several."""
    slowest = max(results, key=lambda result: result.times.total_s)
    stages = {
        "decode": slowest.times.decode_s,
        "queue": slowest.times.queue_s,
        "preprocess": slowest.times.preprocess_s,
        "forward": slowest.times.forward_s,
        "postprocess": slowest.times.postprocess_s,
        "total": total_s,
    }
    return {
        **{f"x-{stage}-ms": f"{seconds * 1000:.1f}" for stage, seconds in stages.items()},
        "x-batch-size": str(max(result.batch_size for result in results)),
        "x-padding-waste": f"{max(result.padding_waste for result in results):.2f}",
        "x-cache": slowest.source,
    }

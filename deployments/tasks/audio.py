"""Rows of the tasks whose input is sound."""

from deployments.tasks.forms import Labels, MediaOf
from deployments.tasks.spec import TaskSpec, names

_AUDIO = MediaOf("audio")

ROWS = (
    TaskSpec(
        "audio-classification",
        _AUDIO,
        names("top_k function_to_apply"),
        None,
        batching="padded",
        unit="seconds",
    ),
    TaskSpec(
        "automatic-speech-recognition",
        _AUDIO,
        names(
            "chunk_length_s stride_length_s ignore_warning decoder_kwargs return_timestamps return_language "
            "generate_kwargs prompt verbose"
        ),
        None,
        {"max_new_tokens": 4},
        generates=True,
        generation_dicts=names("generate_kwargs"),
        generation_extra=names(
            "task language prompt_ids prompt_condition_type condition_on_prev_tokens logprob_threshold "
            "no_speech_threshold compression_ratio_threshold num_segment_frames time_precision"
        ),
        unit="seconds",
        alone_with=names("return_language return_timestamps=word"),
    ),
    TaskSpec(
        "zero-shot-audio-classification",
        _AUDIO,
        names("candidate_labels hypothesis_template"),
        None,
        {"candidate_labels": ["a bell", "a dog"]},
        required={"candidate_labels": Labels()},
        unit="seconds",
    ),
)

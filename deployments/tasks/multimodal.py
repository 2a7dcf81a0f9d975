"""Rows of the tasks that join images or other media with text."""

from deployments.tasks.boxes import WordBoxes
from deployments.tasks.compound import Chat, Fields, ListOf
from deployments.tasks.forms import Labels, MediaOf, Text
from deployments.tasks.spec import TaskSpec, names

_IMAGE = MediaOf("image")
_PROCESSOR = names("padding truncation max_length add_special_tokens tools load_audio_from_video")
_CHAT = names(
    "max_new_tokens generate_kwargs timeout return_full_text return_tensors return_type clean_up_tokenization_spaces "
    "stop_sequence continue_final_message skip_special_tokens processor_kwargs"
)
# of `deployments/stepwise/options.py`: those that mean something beside an image
_STEPS = names("seed stop details top_n_tokens frequency_penalty presence_penalty grammar")

ROWS = (
    TaskSpec(
        "zero-shot-image-classification",
        _IMAGE,
        names("candidate_labels hypothesis_template tokenizer_kwargs timeout"),
        None,
        {"candidate_labels": ["a cat", "a dog"]},
        required={"candidate_labels": Labels()},
        unit="pixels",
    ),
    TaskSpec(
        "zero-shot-object-detection",
        Fields({"image": _IMAGE, "candidate_labels": Labels()}),
        names("threshold top_k timeout"),
        None,
        batching="padded",
        unit="pixels",
    ),
    TaskSpec(
        "document-question-answering",
        Fields({"image": _IMAGE, "question": Text()}, {"word_boxes": WordBoxes()}),
        names(
            "padding doc_stride max_question_len lang tesseract_config max_answer_len max_seq_len top_k "
            "handle_impossible_answer timeout"
        ),
        None,
        reply="listed",
        batching="padded",
        unit="pixels",
        trims=names("start_logits end_logits attention_mask"),
    ),
    TaskSpec(
        "visual-question-answering",
        Fields({"image": _IMAGE, "question": Text()}),
        names("top_k padding truncation timeout"),
        None,
        aliases=("vqa",),
        removed=True,
        batching="padded",
        unit="pixels",
    ),
    TaskSpec(
        "image-to-text",
        _IMAGE,
        names("max_new_tokens generate_kwargs prompt timeout"),
        None,
        {"max_new_tokens": 2},
        generation_dicts=names("generate_kwargs"),
        removed=True,
        unit="pixels",
    ),
    TaskSpec(
        "image-text-to-text",
        Chat(Fields({}, {"images": ListOf(_IMAGE), "text": ListOf(Text())}, bare="text"), media=True),
        _CHAT | _PROCESSOR,
        None,
        {"max_new_tokens": 2},
        generation_dicts=names("generate_kwargs"),
        streams=True,
        batching="alone",
        added=_STEPS,
    ),
    TaskSpec(
        "any-to-any",
        Chat(
            Fields(
                {},
                {
                    "text": ListOf(Text()),
                    "images": ListOf(_IMAGE),
                    "videos": ListOf(MediaOf("video")),
                    "audio": ListOf(MediaOf("audio")),
                },
                bare="text",
            ),
            media=True,
        ),
        _CHAT | _PROCESSOR | names("generation_mode"),
        None,
        {"max_new_tokens": 2},
        generation_dicts=names("generate_kwargs"),
        streams=True,
        batching="alone",
        added=_STEPS,
    ),
)

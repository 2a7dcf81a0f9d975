"""The parameters that the pipelines themselves take at a call, and the whole of what a task takes.

`COMMON` holds what means the same wherever it stands; `OWN` what a task reads in its own way.
"""

from collections.abc import Mapping
from typing import Any

from deployments.tasks.added import ADDED
from deployments.tasks.embedding import SIMILARITY, VECTORS
from deployments.tasks.forms import Any_, Labels
from deployments.tasks.generation import GENERATION, LENGTH, SPEECH, STOP, STOPS
from deployments.tasks.nested import NESTED
from deployments.tasks.parameter import Parameter
from deployments.tasks.spec import TaskSpec
from deployments.tasks.values import Choice, Flag, Items, Null, Number, Object, OneOf, String, Template, whole

_COUNT, _AT_LEAST_0 = whole(1), whole(0)
_FLAG, _SHARE, _STRINGS = Flag(), Number(0, 1), OneOf((String(), Items(String())))
_PADDING = OneOf((_FLAG, Choice(("longest", "max_length", "do_not_pad"))))
_CUT = ("longest_first", "only_first", "only_second", "do_not_truncate")
_FUNCTION = Choice(("sigmoid", "softmax", "none"))
_LABELS = Parameter(Labels(), "Labels to choose from: a list, or one string with commas", null=False)


def _template(default: str) -> Parameter:
    return Parameter(Template(), "Sentence into which each label is put, at {}", default, null=False)


def _threshold(meaning: str, default: float) -> Parameter:
    return Parameter(Number(), meaning, default, null=False)


_SURE = "Score below which nothing is reported"

COMMON: dict[str, Parameter] = {
    "add_special_tokens": Parameter(_FLAG, "Put the tokenizer's special tokens around the text", null=False),
    "candidate_labels": _LABELS,
    "clean_up_tokenization_spaces": Parameter(_FLAG, "Take out spaces before punctuation"),
    "continue_final_message": Parameter(_FLAG, "Go on with the chat's last message rather than answer it"),
    "doc_stride": Parameter(LENGTH, "Tokens that two windows of a long text have in common"),
    "function_to_apply": Parameter(_FUNCTION, "How the model's numbers become scores"),
    "generate_kwargs": Parameter(Object(), "Generation settings, as an object"),
    "handle_impossible_answer": Parameter(_FLAG, "Allow an empty answer", False),
    "hypothesis_template": _template("This is a sound of {}."),
    "max_answer_len": Parameter(_COUNT, "Tokens of an answer at most", 15),
    "max_length": Parameter(LENGTH, "Tokens to which the text is cut or padded"),
    "max_new_tokens": Parameter(LENGTH, "Tokens to generate at most"),
    "max_question_len": Parameter(LENGTH, "Tokens of the question at most", 64),
    "max_seq_len": Parameter(LENGTH, "Tokens of a window, question included"),
    "padding": Parameter(_PADDING, "How texts are padded"),
    "processor_kwargs": Parameter(NESTED["processor_kwargs"], "Arguments of the model's processor"),
    "return_full_text": Parameter(_FLAG, "Repeat the prompt before the answer"),
    "return_tensors": Parameter(_FLAG, "Answer with token ids instead of text"),
    "return_text": Parameter(_FLAG, "Answer with text"),
    "return_type": Parameter(Null(), "Only for the Python client: transformers' ReturnType"),
    "skip_special_tokens": Parameter(_FLAG, "Leave special tokens out of the text", True),
    "stop_sequence": Parameter(STOPS, "Strings that end the answer"),
    "stride": Parameter(_AT_LEAST_0, "Tokens that two windows of a long text have in common"),
    "threshold": _threshold(_SURE, 0.5),
    "timeout": Parameter(Number(above=0), "No effect here: the server fetches under its own time limit"),
    "tokenizer_kwargs": Parameter(NESTED["tokenizer_kwargs"], "Arguments of the tokenizer"),
    "tools": Parameter(Items(Object()), "Functions that the model may call, as JSON Schema"),
    "top_k": Parameter(_COUNT, "Answers to give, the best first", 5),
    "truncation": Parameter(OneOf((_FLAG, Choice(_CUT))), "How texts longer than the model can take are cut"),
}

_FEATURES = {"return_tensors": Parameter(_FLAG, "Of no effect in JSON: with the raw form, a tensor", False)}
_TEXT2TEXT = {
    "return_tensors": Parameter(_FLAG, "Answer with token ids instead of text", False),
    "return_type": Parameter(Choice(("text", "tensors")), "Answer with text or with token ids", "text"),
    "stop_sequence": Parameter(STOP, "Text whose first token ends the answer"),
}
_CHAT = {"load_audio_from_video": Parameter(_FLAG, "Hear the sound of films too", null=False)}

OWN: dict[str, dict[str, Parameter]] = {
    "text-classification": {
        "top_k": Parameter(_COUNT, "Labels to give, the best first; null gives all", 1),
        "function_to_apply": Parameter(Choice(_FUNCTION.values, any_case=True), COMMON["function_to_apply"].meaning),
    },
    "image-classification": {
        "function_to_apply": Parameter(Choice(_FUNCTION.values, any_case=True), COMMON["function_to_apply"].meaning)
    },
    "token-classification": {
        "aggregation_strategy": Parameter(
            Choice(("none", "simple", "first", "average", "max"), any_case=True),
            "Whether and how tokens become entities",
            "none",
        ),
        "delimiter": Parameter(String(), "What stands between words that were split beforehand", " "),
        "ignore_labels": Parameter(Items(String()), "Labels that are left out", ["O"]),
        "is_split_into_words": Parameter(_FLAG, "Whether the text was split into words beforehand", False),
        "offset_mapping": Parameter(Items(Items(_AT_LEAST_0, 2)), "First and last character of each token"),
    },
    "fill-mask": {"targets": Parameter(_STRINGS, "Words to choose from; default the whole vocabulary")},
    "feature-extraction": {**VECTORS, **_FEATURES},
    "sentence-similarity": SIMILARITY,
    "zero-shot-classification": {
        "hypothesis_template": _template("This example is {}."),
        "multi_label": Parameter(_FLAG, "Whether several labels may be true at once", False),
    },
    "zero-shot-image-classification": {"hypothesis_template": _template("This is a photo of {}.")},
    "zero-shot-object-detection": {
        "threshold": _threshold(_SURE, 0.1),
        "top_k": Parameter(_COUNT, "Objects to give, the best first; default all"),
    },
    "text-generation": {
        "documents": Parameter(Items(Object()), "Documents for the chat template"),
        "handle_long_generation": Parameter(Choice(("hole",)), "Cut the prompt on the left where it is too long"),
        "max_length": GENERATION["max_length"],
        "prefix": Parameter(String(), "Text to put before the prompt"),
        "return_full_text": Parameter(_FLAG, "Repeat the prompt before the answer", True),
        "tokenizer_encode_kwargs": Parameter(NESTED["tokenizer_encode_kwargs"], "Arguments of the tokenizer"),
    },
    "table-question-answering": {
        "sequential": Parameter(_FLAG, "Ask one question after the other, as in a conversation", False),
        "truncation": Parameter(OneOf((_FLAG, Choice(("drop_rows_to_fit", "do_not_truncate")))), "How tables are cut"),
    },
    "text-to-audio": {
        "forward_params": Parameter(Object(), "Generation settings, or arguments of the model"),
        "preprocess_params": Parameter(NESTED["preprocess_params"], "Arguments of the tokenizer"),
    },
    "automatic-speech-recognition": {
        "chunk_length_s": Parameter(
            OneOf((Number(0), Choice(("auto",)))),
            "Seconds of a piece of a long sound; 0 does not cut it, auto only what is longer than the model's window",
            0,
        ),
        "decoder_kwargs": Parameter(NESTED["decoder_kwargs"], "Arguments of a CTC decoder with a language model"),
        "ignore_warning": Parameter(_FLAG, "No warning that pieces are experimental"),
        "prompt": Parameter(String(), "Text as if said before, for style and spelling (Whisper)"),
        "return_language": Parameter(_FLAG, "Tell the language of each piece (Whisper)"),
        "return_timestamps": Parameter(
            OneOf((_FLAG, Choice(("word", "char")))), "Tell when each piece, word or character was said"
        ),
        "stride_length_s": Parameter(
            OneOf((Number(0), Items(Number(0), 2))), "Seconds that pieces overlap, left and right"
        ),
        "verbose": Parameter(_FLAG, "Tell language, length, and segments beside words", False),
    },
    "image-feature-extraction": {
        "image_processor_kwargs": Parameter(NESTED["image_processor_kwargs"], "Arguments of the image processor"),
        "pool": Parameter(_FLAG, "Answer with the pooled output, where the model has one", False),
        **_FEATURES,
    },
    "image-segmentation": {
        "subtask": Parameter(Choice(("semantic", "instance", "panoptic")), "Which kind, of those that the model has"),
        "threshold": _threshold("Score below which no mask is reported", 0.9),
        "mask_threshold": _threshold("Value from which a pixel is in the mask", 0.5),
        "overlap_mask_area_threshold": _threshold("Share of a mask that must be its own", 0.5),
    },
    "depth-estimation": {
        "parameters": Parameter(NESTED["parameters"], "An object with `timeout`, which has no effect here")
    },
    "keypoint-matching": {"threshold": Parameter(Number(), "Score below which no match is reported", 0.0)},
    "video-classification": {
        "num_frames": Parameter(whole(1, 10_000), "Frames that the model looks at; default its own number"),
        "frame_sampling_rate": Parameter(_COUNT, "Each how manieth frame it looks at", 1),
    },
    "mask-generation": {
        "points_per_batch": Parameter(_COUNT, "Points that the model runs at a time", 64, null=False),
        "points_per_crop": Parameter(whole(1, 256), "Points along each side of a crop", 32, null=False),
        "crops_n_layers": Parameter(whole(0, 4), "Layers of ever smaller crops", 0, null=False),
        "crop_overlap_ratio": Parameter(_SHARE, "Share of a crop that overlaps the next", 512 / 1500, null=False),
        "crop_n_points_downscale_factor": Parameter(_COUNT, "Fewer points in deeper layers", 1, null=False),
        "pred_iou_thresh": _threshold("Predicted quality below which a mask is dropped", 0.88),
        "stability_score_offset": _threshold("Shift of the cut-off with which stability is measured", 1),
        "mask_threshold": _threshold("Value from which a pixel is in the mask", 0),
        "stability_score_thresh": _threshold("Stability below which a mask is dropped", 0.95),
        "max_hole_area": Parameter(_AT_LEAST_0, "Pixels up to which holes are filled"),
        "max_sprinkle_area": Parameter(_AT_LEAST_0, "Pixels up to which specks are dropped"),
        "crops_nms_thresh": _threshold("Overlap above which the weaker of two masks is dropped", 0.7),
        "output_rle_mask": Parameter(_FLAG, "Give the masks as run lengths too", False),
        "output_bboxes_mask": Parameter(_FLAG, "Give the masks' boxes too", False),
    },
    "document-question-answering": {
        "lang": Parameter(String(), "Languages for the OCR engine"),
        "tesseract_config": Parameter(String(), "Options of the OCR engine"),
        "top_k": Parameter(_COUNT, "Answers to give, the best first", 1),
    },
    "question-answering": {
        "align_to_words": Parameter(_FLAG, "Widen answers to whole words", True),
        "top_k": Parameter(_COUNT, "Answers to give, the best first", 1),
        "topk": Parameter(_COUNT, "An older name of `top_k`"),
    },
    "image-to-text": {"prompt": Parameter(String(), "Text with which the answer begins")},
    "summarization": _TEXT2TEXT,
    "translation": {
        **_TEXT2TEXT,
        "src_lang": Parameter(String(), "Language of the text, as the model names it"),
        "tgt_lang": Parameter(String(), "Language of the answer, as the model names it"),
    },
    "text2text-generation": _TEXT2TEXT,
    "image-text-to-text": _CHAT,
    "any-to-any": {
        **_CHAT,
        "generation_mode": Parameter(Choice(("text", "image", "audio")), "What to generate", "text"),
    },
    "fake": {
        "sleep_s": Parameter(Number(0), "Seconds that the stand-in waits", 0),
        "fail_on": Parameter(Any_(), "Input on which it fails"),
    },
}


def parameters_of(spec: TaskSpec) -> Mapping[str, Parameter]:
    """Everything that a call of the task may carry, by name, the pipeline's own first."""
    rows = {**COMMON, **OWN.get(spec.name, {})}
    own = {name: rows[name] for name in sorted(spec.parameters) if name in rows}
    own |= {name: ADDED[name] for name in sorted(spec.added) if name in ADDED}
    return {**settings_of(spec), **own} if spec.generates else own


def settings_of(spec: TaskSpec) -> dict[str, Parameter]:
    """The generation settings of the task, at the call or inside ``generate_kwargs``."""
    return {**GENERATION, **{name: SPEECH[name] for name in sorted(spec.generation_extra) if name in SPEECH}}


def check(spec: TaskSpec, given: Mapping[str, Any]) -> None:
    """Refuse values that the parameters do not have; one that no table describes is left to the pipeline.

    Raises:
        InvalidInputError: names the parameter and what it must be.
    """
    known, settings = parameters_of(spec), settings_of(spec)
    for name, value in given.items():
        if name in known:
            known[name].form.read(value, f"parameters.{name}")
        if name in spec.generation_dicts and isinstance(value, dict):
            for key, inner in value.items():
                if key in settings:
                    settings[key].form.read(inner, f"parameters.{name}.{key}")

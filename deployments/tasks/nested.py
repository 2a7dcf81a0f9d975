"""What a caller may put inside the parameters that hold arguments of a tokenizer, a processor or a decoder.

A list of what is let through, as upstream hands everything on: names of files and addresses (``images``,
``voice_preset``, ``masks_path``) would be opened on the server. The names are those of transformers' ``TextKwargs``,
``ImagesKwargs`` and their like which are settings; strings are taken only where they are one of a few.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deployments.errors import InvalidInputError
from deployments.tasks.forms import Form, Schema
from deployments.tasks.spec import names
from deployments.tasks.values import Choice, Flag, Items, Number, OneOf, String

_ELSE = 2**20
# the largest numbers, where room is made for as many pixels or pieces
_MOST = dict.fromkeys(names("height width shortest_edge max_height max_width"), 2048) | {"longest_edge": 8192}
_MOST |= dict.fromkeys(names("size crop_size pad_size image_size max_image_size min_size tile_size"), 2048)
_MOST |= dict.fromkeys(names("min_pixels max_pixels"), 2**24)
_MOST |= dict.fromkeys(names("pad_to_multiple_of patch_size merge_size size_divisor ensure_multiple_of"), 2048)
_MOST |= dict.fromkeys(names("pooling_kernel_size max_image_tiles max_num_tiles max_tiles max_crops"), 256)
_MOST |= dict.fromkeys(names("max_slice_nums min_patches pan_and_scan_max_num_crops"), 256)
_MOST |= dict.fromkeys(names("max_patches max_num_patches"), 8192)
_MOST |= dict.fromkeys(names("num_frames max_frames min_frames fps max_fps"), 1024)


@dataclass(frozen=True)
class Numbers(Form):
    """Numbers and flags of at most ``most``, in lists and objects too: whatever they are, no name of a file."""

    most: int = _ELSE
    says = "made of numbers, true, false and null"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            for key, part in value.items():
                if not isinstance(key, str):
                    raise self._refuse(value, path)
                Numbers(_MOST.get(key, self.most)).read(part, f"{path}.{key}")
        elif isinstance(value, list | tuple):
            for part in value:
                self.read(part, path)
        elif isinstance(value, int | float | np.integer | np.floating):  # True and False are among them
            if not -self.most <= value <= self.most:
                raise InvalidInputError(f"`{path}` may be {self.most} at most.", path)
        elif value is not None and not isinstance(value, np.bool_):
            raise self._refuse(value, path)
        return value

    def schema(self) -> Schema:
        return {"type": ["number", "boolean", "null", "array", "object"]}


@dataclass(frozen=True)
class Group(Form):
    """An object of settings, each of the form under its name; ``others`` is what any other name may have."""

    forms: Mapping[str, Form] = field(default_factory=dict)
    others: Form | None = None
    says = "an object"

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise self._refuse(value, path)
        for name, part in value.items():
            at = f"{path}.{name}"
            form = self.forms.get(name, self.others) if isinstance(name, str) else None
            if form is None:
                near = difflib.get_close_matches(str(name)[:100], self.forms, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(self.forms)[:20])}."
                raise InvalidInputError(f"`{at[:200]}` cannot be set by a caller; {hint}", at[:200])
            if part is not None:
                form.read(part, at)
        return value

    def schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {name: form.schema() for name, form in self.forms.items()},
            "additionalProperties": False if self.others is None else self.others.schema(),
        }


def _numbers(spaced: str) -> dict[str, Form]:
    return {name: Numbers(_MOST.get(name, _ELSE)) for name in sorted(names(spaced))}


_TEXT = _numbers(
    "add_special_tokens max_length stride is_split_into_words pad_to_multiple_of return_token_type_ids "
    "return_attention_mask return_overflowing_tokens return_special_tokens_mask return_offsets_mapping "
    "return_length verbose return_mm_token_type_ids sanitize_control_tokens add_eos_token "
    "split_special_tokens add_end_of_utterance_token"
)
_TEXT |= {
    "padding": OneOf((Flag(), Choice(("longest", "max_length", "do_not_pad")))),
    "truncation": OneOf((Flag(), Choice(("longest_first", "only_first", "only_second", "do_not_truncate")))),
    "padding_side": Choice(("left", "right")),
    "truncation_side": Choice(("left", "right")),
    "src_lang": String(),
    "tgt_lang": String(),
}
_IMAGES = _numbers(
    "do_convert_rgb do_resize size default_to_square crop_size resample do_rescale rescale_factor do_normalize "
    "image_mean image_std do_pad pad_size do_center_crop crop_pct do_grayscale do_flip_channel_order "
    "do_reduce_labels do_crop_margin do_thumbnail do_align_long_axis do_image_splitting do_split_image split_image "
    "do_pan_and_scan pan_and_scan_min_crop_size pan_and_scan_max_num_crops pan_and_scan_min_ratio_to_activate "
    "crop_to_patches min_patches max_patches max_num_patches max_num_tiles max_image_tiles max_tiles max_crops "
    "max_slice_nums slice_mode use_thumbnail tile_size min_pixels max_pixels max_image_size image_size min_size "
    "patch_size merge_size temporal_patch_size pooling_kernel_size size_divisor ensure_multiple_of "
    "keep_aspect_ratio max_soft_tokens max_image_tokens min_image_tokens return_row_col_info rescale_offset "
    "include_top background_color use_image_id"
)
_CHANNELS = Choice(("channels_first", "channels_last"))
_IMAGES |= {"data_format": _CHANNELS, "input_data_format": _CHANNELS}
_VIDEOS = _IMAGES | _numbers(
    "do_sample_frames fps num_frames max_frames min_frames max_fps max_video_tokens stack_frames "
    "load_audio_from_video add_timestamps seconds_per_chunk position_id_per_seconds"
)
_AUDIO = _numbers("sampling_rate max_length pad_to_multiple_of return_attention_mask")
_AUDIO |= {name: _TEXT[name] for name in ("padding", "truncation")}
_DECODER = _numbers("beam_width beam_prune_logp token_min_logp prune_history hotword_weight")
_DECODER |= {"hotwords": OneOf((String(), Items(String())))}
_PROCESSOR = Group(
    {
        **_AUDIO,
        **_VIDEOS,
        **_TEXT,
        "text_kwargs": Group(_TEXT),
        "images_kwargs": Group(_IMAGES),
        "videos_kwargs": Group(_VIDEOS),
        "audio_kwargs": Group(_AUDIO),
        "common_kwargs": Group({}),
    }
)
_TOKENIZER = Group(_TEXT)
NESTED: dict[str, Group] = {
    "tokenizer_kwargs": _TOKENIZER,
    "tokenize_kwargs": _TOKENIZER,
    # the variables of the chat template stand here too
    "tokenizer_encode_kwargs": Group(_TEXT, OneOf((String(), Flag(), Number(-_ELSE, _ELSE)))),
    "processor_kwargs": _PROCESSOR,
    "image_processor_kwargs": Group(_IMAGES),
    "preprocess_params": Group({**_TEXT, "processor_kwargs": _PROCESSOR}),
    "decoder_kwargs": Group(_DECODER),
    "parameters": Group({"timeout": Number(above=0)}),
}
"""Parameter → what may stand in it; those with generation settings are in `TaskSpec.generation_dicts`."""

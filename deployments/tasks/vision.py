"""Rows of the tasks whose input is an image, a pair of images or a film."""

from deployments.tasks.compound import Pair
from deployments.tasks.forms import MediaOf
from deployments.tasks.spec import TaskSpec, names

_IMAGE = MediaOf("image")

ROWS = (
    TaskSpec("image-classification", _IMAGE, names("top_k function_to_apply timeout"), None, unit="pixels"),
    TaskSpec(
        "image-feature-extraction",
        _IMAGE,
        names("image_processor_kwargs return_tensors pool timeout"),
        None,
        unit="pixels",
    ),
    TaskSpec(
        "image-segmentation",
        _IMAGE,
        names("subtask threshold mask_threshold overlap_mask_area_threshold timeout"),
        None,
        reply="segments",
        unit="pixels",
    ),
    TaskSpec("object-detection", _IMAGE, names("threshold timeout"), None, unit="pixels"),
    TaskSpec("depth-estimation", _IMAGE, names("timeout parameters"), None, reply="depth", unit="pixels"),
    TaskSpec(
        "mask-generation",
        _IMAGE,
        names(
            "points_per_batch points_per_crop crops_n_layers crop_overlap_ratio crop_n_points_downscale_factor "
            "pred_iou_thresh stability_score_offset mask_threshold stability_score_thresh max_hole_area "
            "max_sprinkle_area crops_nms_thresh output_rle_mask output_bboxes_mask timeout"
        ),
        None,
        reply="masks",
        batching="alone",
        unit="pixels",
        prepares_with_model=True,
    ),
    TaskSpec(
        "keypoint-matching",
        Pair(_IMAGE),
        names("threshold timeout"),
        None,
        list_of_one_unwraps=True,
        batching="alone",
        unit="pixels",
    ),
    TaskSpec(
        "video-classification",
        MediaOf("video"),
        names("top_k num_frames frame_sampling_rate function_to_apply"),
        None,
        unit="pixels",
    ),
    TaskSpec(
        "image-to-image",
        _IMAGE,
        names("timeout"),
        None,
        reply="image",
        removed=True,
        unit="pixels",
    ),
)

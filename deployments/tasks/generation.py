"""The generation settings: fields of transformers' ``GenerationConfig``, and what single models' ``generate`` adds.

All may be null, which leaves the choice to the model's own ``generation_config``. A test (``test_parameter_tables.py``)
compares the names with the installed transformers, and hands it values of each form.
"""

from deployments.stepwise.options import MOST_STOP, MOST_STOPS
from deployments.tasks.forms import Any_
from deployments.tasks.parameter import Parameter
from deployments.tasks.values import Choice, Flag, Items, Null, Number, Object, OneOf, String, whole

_COUNT, _AT_LEAST_0, _TOKEN = whole(1), whole(0), whole()
LENGTH = whole(1, 2**20)
"""Tokens for which room is made at once."""
_ANSWERS = whole(1, 128)  # each is a row of its own from the start: more would take the memory of all the others
_TOKENS = Items(_TOKEN)
_SHARE, _POSITIVE, _FLAG = Number(0, 1), Number(above=0), Flag()
_WORDS = OneOf((String(), Items(String())))
STOP = String(most=MOST_STOP)
STOPS = OneOf((STOP, Items(STOP, most=MOST_STOPS)))
"""Each is searched at every token."""

GENERATION: dict[str, Parameter] = {
    # how long
    "max_length": Parameter(LENGTH, "Tokens of prompt and answer together; better use `max_new_tokens`"),
    "max_new_tokens": Parameter(LENGTH, "Tokens to generate at most"),
    "min_length": Parameter(_AT_LEAST_0, "Tokens of prompt and answer together, at least"),
    "min_new_tokens": Parameter(_AT_LEAST_0, "Tokens to generate at least"),
    "early_stopping": Parameter(OneOf((_FLAG, Choice(("never",)))), "When a beam search stops"),
    "max_time": Parameter(_POSITIVE, "Seconds after which no further token is begun"),
    "stop_strings": Parameter(STOPS, "Strings that end the answer"),
    # how tokens are chosen
    "do_sample": Parameter(_FLAG, "Draw tokens at random, rather than take the likeliest"),
    "num_beams": Parameter(_ANSWERS, "Beams of a beam search; 1 is none"),
    "use_mtp": Parameter(_FLAG, "Predict several tokens at a time, where the model can"),
    "use_cache": Parameter(_FLAG, "Keep the keys and values of earlier tokens, for speed"),
    "max_cache_len": Parameter(LENGTH, "Tokens that a static cache has room for"),
    "temperature": Parameter(Number(0), "Above 1 flattens the probabilities of the tokens, below 1 sharpens them"),
    "top_k": Parameter(_AT_LEAST_0, "Draw only among this many of the likeliest tokens; 0 is all"),
    "top_p": Parameter(_SHARE, "Draw only among the likeliest tokens that have this probability together"),
    "min_p": Parameter(_SHARE, "Draw only tokens of at least this share of the likeliest one's probability"),
    "top_h": Parameter(_SHARE, "Share of the distribution's entropy that is kept when drawing"),
    "typical_p": Parameter(_SHARE, "Draw only among the most typical tokens that have this probability together"),
    "epsilon_cutoff": Parameter(_SHARE, "Draw only tokens of at least this probability"),
    "eta_cutoff": Parameter(_SHARE, "Cut-off of eta sampling"),
    "repetition_penalty": Parameter(_POSITIVE, "Above 1 makes tokens that were there before less likely"),
    "encoder_repetition_penalty": Parameter(_POSITIVE, "Above 1 makes tokens of the prompt more likely"),
    "length_penalty": Parameter(Number(), "Above 0 favours long beams, below 0 short ones"),
    "no_repeat_ngram_size": Parameter(_AT_LEAST_0, "No run of so many tokens comes twice; 0 allows all"),
    "encoder_no_repeat_ngram_size": Parameter(_AT_LEAST_0, "No run of so many tokens of the prompt comes again"),
    "bad_words_ids": Parameter(Items(_TOKENS), "Runs of tokens that are never generated"),
    "renormalize_logits": Parameter(_FLAG, "Normalise the scores after all that changes them"),
    "forced_bos_token_id": Parameter(_TOKEN, "First token of the answer, such as the language of a translation"),
    "forced_eos_token_id": Parameter(OneOf((_TOKEN, _TOKENS)), "Last token of an answer of full length"),
    "remove_invalid_values": Parameter(_FLAG, "Replace scores that are no numbers"),
    "exponential_decay_length_penalty": Parameter(
        Items(Number(), 2), "Token from which on the end becomes likelier, and how fast"
    ),
    "suppress_tokens": Parameter(_TOKENS, "Tokens that are never generated"),
    "begin_suppress_tokens": Parameter(_TOKENS, "Tokens that the answer does not begin with"),
    "sequence_bias": Parameter(
        OneOf((Items(Items(Any_(), 2)), Object())), "Pairs of a run of tokens and what is added to its score"
    ),
    "token_healing": Parameter(_FLAG, "Let the last token of the prompt be completed"),
    "guidance_scale": Parameter(Number(), "Above 1 follows the prompt more closely"),
    "watermarking_config": Parameter(Object(), "Settings of a watermark in the answer"),
    "num_return_sequences": Parameter(_ANSWERS, "Answers to one prompt"),
    # what else `generate` returns; the pipelines keep none of it
    "output_attentions": Parameter(_FLAG, "Has no effect here"),
    "output_hidden_states": Parameter(_FLAG, "Has no effect here"),
    "output_scores": Parameter(_FLAG, "Has no effect here"),
    "output_logits": Parameter(_FLAG, "Has no effect here"),
    # special tokens
    "pad_token_id": Parameter(_TOKEN, "The token that fills up"),
    "bos_token_id": Parameter(_TOKEN, "The token that begins"),
    "eos_token_id": Parameter(OneOf((_TOKEN, _TOKENS)), "The tokens that end the answer"),
    "decoder_start_token_id": Parameter(OneOf((_TOKEN, _TOKENS)), "The token with which a decoder begins"),
    "prefill_chunk_size": Parameter(_COUNT, "Tokens of the prompt that the model reads at a time"),
    # strategies that transformers 5 moved out of itself: only what turns them off is answered
    "penalty_alpha": Parameter(Number(0), "Contrastive search, which transformers no longer has"),
    "dola_layers": Parameter(OneOf((Choice(("low", "high")), _TOKENS)), "DoLa, which transformers no longer has"),
    "num_beam_groups": Parameter(_COUNT, "Groups of beams, which transformers no longer has"),
    "diversity_penalty": Parameter(Number(0), "Of groups of beams, which transformers no longer has"),
    "constraints": Parameter(Items(Any_()), "Constrained beams, which transformers no longer has"),
    "force_words_ids": Parameter(Items(Items(Any_())), "Constrained beams, which transformers no longer has"),
    "low_memory": Parameter(_FLAG, "Of contrastive search, which transformers no longer has"),
    # assisted generation
    "is_assistant": Parameter(_FLAG, "Whether the model is another one's assistant"),
    "num_assistant_tokens": Parameter(_COUNT, "Tokens that an assistant proposes at a time"),
    "num_assistant_tokens_schedule": Parameter(
        Choice(("heuristic", "heuristic_transient", "constant")), "How that number changes"
    ),
    "assistant_confidence_threshold": Parameter(_SHARE, "Below this confidence an assistant proposes no more"),
    "prompt_lookup_num_tokens": Parameter(_COUNT, "Tokens proposed at a time out of the prompt itself"),
    "max_matching_ngram_size": Parameter(_COUNT, "Tokens that must match to be looked up in the prompt"),
    "assistant_early_exit": Parameter(_COUNT, "Layer of the model that serves as assistant"),
    "assistant_lookbehind": Parameter(_COUNT, "Tokens of the assistant looked at to align it"),
    "target_lookbehind": Parameter(_COUNT, "Tokens of the model looked at to align the assistant"),
    "assistant_ensemble_weight": Parameter(Number(above=0, below=1), "Weight of the model against its assistant"),
    "speculation_type": Parameter(Choice(("dflash",)), "Kind of speculative decoding"),
}

SPEECH: dict[str, Parameter] = {
    "task": Parameter(Choice(("transcribe", "translate")), "Whether Whisper writes down or translates to English"),
    "language": Parameter(_WORDS, "Language of the speech, as a code, a word or a token; found out where not given"),
    "prompt_ids": Parameter(_TOKENS, "Tokens that Whisper is to take as said before"),
    "prompt_condition_type": Parameter(Choice(("first-segment", "all-segments")), "Which segments see the prompt"),
    "condition_on_prev_tokens": Parameter(_FLAG, "Let each segment see the text of the last"),
    "logprob_threshold": Parameter(Number(), "Mean log probability below which a segment is tried again"),
    "no_speech_threshold": Parameter(Number(), "Probability of silence above which a segment is left out"),
    "compression_ratio_threshold": Parameter(Number(), "Compression above which a segment is tried again"),
    "num_segment_frames": Parameter(_COUNT, "Frames of a segment"),
    "time_precision": Parameter(_POSITIVE, "Seconds between two time stamps"),
    "speaker_embeddings": Parameter(OneOf((Items(Any_()), Object())), "The voice, as numbers"),
    "speaker_id": Parameter(_AT_LEAST_0, "The voice, as a number"),
    "noise_scale": Parameter(Number(0), "How much chance is in the speech"),
    "history_prompt": Parameter(OneOf((Object(), Null())), "What Bark is to take as spoken before"),
}

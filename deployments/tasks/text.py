"""Rows of the tasks whose input is text."""

from deployments.stepwise.options import OPTION_NAMES
from deployments.tasks.compound import Chat, Fields, ListOf, Questions, Texts
from deployments.tasks.forms import Any_, Labels, Table, Text, Words
from deployments.tasks.spec import TaskSpec, names

# what `_sanitize_parameters(**tokenizer_kwargs)` hands to the tokenizer
_TOKENIZER = names("truncation padding max_length stride add_special_tokens")
_TEXT2TEXT = names("return_tensors return_text return_type clean_up_tokenization_spaces truncation stop_sequence")
# of token-by-token generation; `stop_sequence` is a single token here, as upstream had it
_STEPS = names("seed details top_n_tokens frequency_penalty presence_penalty grammar")
# a batch pads the shorter answers, which shows in their tokens
_WITH_PADDING = names("return_tensors return_type=tensors")
_ANY_TEXT = Text(empty_ok=True)
_EMBEDDING = names("pooling normalize dimensions truncate truncation_direction prompt_name prompt tokenize_kwargs")
_FEATURES = names("last_hidden_state logits encoder_last_hidden_state")
_SENTENCE = "The library opens at nine."

ROWS = (
    TaskSpec(
        "text-classification",
        Fields({"text": _ANY_TEXT}, {"text_pair": _ANY_TEXT}, bare="text"),
        names("top_k function_to_apply") | _TOKENIZER,
        _SENTENCE,
        single_is_listed=True,
        listed_with="top_k",
        reply="nested",
        aliases=("sentiment-analysis",),
        batching="padded",
    ),
    TaskSpec(
        "token-classification",
        Words(),
        names("ignore_labels aggregation_strategy offset_mapping is_split_into_words stride delimiter"),
        _SENTENCE,
        aliases=("ner",),
        batching="padded",
    ),
    TaskSpec(
        "fill-mask",
        Text(),
        names("top_k targets tokenizer_kwargs"),
        None,  # needs the tokenizer's own mask token
        list_of_one_unwraps=True,
        batching="padded",
        trims=names("logits input_ids"),
    ),
    TaskSpec(
        "feature-extraction",
        _ANY_TEXT,
        names("truncation return_tensors encoding_format") | _EMBEDDING,
        _SENTENCE,
        reply="features",
        batching="padded",
        trims=_FEATURES,
        also=("sentence-similarity",),
    ),
    TaskSpec(
        "sentence-similarity",  # not a pipeline: cosines of the same model's embeddings
        Fields({"source_sentence": _ANY_TEXT, "sentences": Texts()}),
        names("truncation") | _EMBEDDING,
        {"source_sentence": _SENTENCE, "sentences": ["It opens in the morning."]},
        batching="padded",
        trims=_FEATURES,
        also=("feature-extraction",),
    ),
    TaskSpec(
        "zero-shot-classification",
        Text(),
        names("candidate_labels hypothesis_template multi_label"),
        _SENTENCE,
        {"candidate_labels": ["place", "food"]},
        required={"candidate_labels": Labels()},
        reply="zero_shot",
        batching="padded",
    ),
    TaskSpec(
        "text-generation",
        Chat(Text()),
        names(
            "return_full_text return_tensors return_text return_type clean_up_tokenization_spaces prefix "
            "handle_long_generation stop_sequence truncation max_length continue_final_message skip_special_tokens "
            "tokenizer_encode_kwargs tools documents add_special_tokens padding"
        ),
        _SENTENCE,
        {"max_new_tokens": 2, "do_sample": False},
        generates=True,
        streams=True,
        batching="padded",
        alone_with=names("return_tensors return_type=tensors skip_special_tokens stop_sequence stop_strings stop"),
        added=OPTION_NAMES,
    ),
    TaskSpec(
        "table-question-answering",
        Fields({"table": Table(), "query": ListOf(Text())}),
        names("sequential padding truncation"),
        {"table": {"City": ["Oslo", "Rome"], "Rivers": ["1", "2"]}, "query": "How many rivers has Rome?"},
        list_of_one_unwraps=True,
        batching="alone",
    ),
    TaskSpec(
        "decision",
        Questions(),
        names(""),
        {"state": _SENTENCE, "questions": {"open": {"type": "noul", "instructions": "Is it open?"}}},
        batching="alone",
    ),
    TaskSpec(
        "text-to-audio",
        Text(),
        names("generate_kwargs forward_params preprocess_params processor_kwargs"),
        "Yes.",
        generation_dicts=names("generate_kwargs forward_params"),
        generation_extra=names("speaker_embeddings speaker_id noise_scale history_prompt"),
        reply="audio",
        aliases=("text-to-speech",),
        batching="alone",
        deterministic=False,
    ),
    TaskSpec(
        "question-answering",
        Fields({"question": Text(), "context": Text()}),
        names(
            "padding topk top_k doc_stride max_answer_len max_seq_len max_question_len handle_impossible_answer "
            "align_to_words"
        ),
        {"question": "When does it open?", "context": _SENTENCE},
        removed=True,
        batching="padded",
    ),
    TaskSpec(
        "summarization",
        Text(),
        _TEXT2TEXT,
        _SENTENCE,
        {"max_new_tokens": 2},
        generates=True,
        streams=True,
        single_is_listed=True,
        removed=True,
        batching="padded",
        alone_with=_WITH_PADDING,
        added=_STEPS,
    ),
    TaskSpec(
        "translation",
        Text(),
        _TEXT2TEXT | names("src_lang tgt_lang"),
        _SENTENCE,
        {"max_new_tokens": 2},
        generates=True,
        streams=True,
        single_is_listed=True,
        removed=True,
        batching="padded",
        alone_with=_WITH_PADDING,
        added=_STEPS,
    ),
    TaskSpec(
        "text2text-generation",
        Text(),
        _TEXT2TEXT,
        _SENTENCE,
        {"max_new_tokens": 2},
        generates=True,
        streams=True,
        single_is_listed=True,
        removed=True,
        batching="padded",
        alone_with=_WITH_PADDING,
        added=_STEPS,
    ),
    TaskSpec(
        "fake",  # not a pipeline: the stand-in of deployments/fake.py, for load and failure tests
        Any_(),
        names("sleep_s fail_on"),
        "warm-up",
        batching="padded",
        deterministic=False,  # so that load trials run every request
    ),
)

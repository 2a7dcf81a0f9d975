"""The speech recognition pipeline with what a transcript needs beyond it: a prompt as text, language, length, segments.

Without the parameters ``prompt`` and ``verbose``, and ``chunk_length_s: auto``, it is upstream's.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import AutomaticSpeechRecognitionPipeline
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from deployments.errors import InvalidParameterError
from deployments.generation import settings

_SECONDS = "seconds"  # key of the rows for the length of the whole sound
_SPOKEN = "spoken"  # key of the outputs for the number of the language's token
_CTC_WINDOW_S = 30.0  # a CTC model takes any length, at a cost that grows with its square
_NOT_WHISPER = ("language", "prompt_ids", "temperature")
_INIT_TOKENS = 5  # at most: start of the previous text and of the transcript, language, task, no timestamps


class TranscriptionPipeline(AutomaticSpeechRecognitionPipeline):  # type: ignore[misc]
    """``AutomaticSpeechRecognitionPipeline``, and transcripts where a call asks for them; see ``docs/openai.md``."""

    def _sanitize_parameters(
        self,
        prompt: str | None = None,
        verbose: bool | None = None,
        chunk_length_s: float | str | None = None,
        **upstream: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        window = self._window_s() if chunk_length_s == "auto" else chunk_length_s
        if chunk_length_s == "auto":
            upstream["ignore_warning"] = True
        if verbose:
            self._check_times(upstream.get("return_timestamps"))
        preprocess, forward, postprocess = super()._sanitize_parameters(chunk_length_s=window, **upstream)
        if chunk_length_s == "auto":
            preprocess["only_longer"] = True
        if prompt:
            forward["prompt_ids"] = self._prompt(prompt, forward)
        if verbose:
            forward = self._understood(forward)
            forward["verbose"] = postprocess["verbose"] = True
            postprocess["language"] = self._language(forward)
        return preprocess, forward, postprocess

    @property
    def _whisper(self) -> bool:
        return bool(self.type == "seq2seq_whisper")

    @property
    def _multilingual(self) -> bool:
        return self._whisper and bool(getattr(self.model.generation_config, "is_multilingual", False))

    def _window_s(self) -> float | None:
        """Seconds of sound that the model takes at once; None where sound is never cut."""
        if self._whisper:
            return float(self.feature_extractor.chunk_length)
        return _CTC_WINDOW_S if self.type == "ctc" else None

    def _check_times(self, asked: Any) -> None:
        """Refuse times that the model does not tell, in the words of a transcript."""
        if not asked or self._whisper:
            return
        if self.type == "seq2seq":
            raise _refused("return_timestamps", "cannot be told: this model hears what is said, not when")
        if asked is True:
            raise _refused("return_timestamps", "can be told of words only: this model knows no segments")

    def _prompt(self, prompt: str, forward: dict[str, Any]) -> Any:
        """The last tokens of ``prompt`` that the decoder has room for; Whisper's own limit is half of its positions."""
        if not self._whisper:
            raise _refused("prompt", "is for Whisper models")
        positions = int(self.model.config.max_target_positions)
        new = settings(self, forward).get("max_new_tokens") or 0
        most = min(positions // 2 - 1, positions - new - _INIT_TOKENS)
        if most < 1:
            raise _refused("prompt", f"has no room beside `max_new_tokens` of {new}: set fewer")
        tokens = self.tokenizer.get_prompt_ids(prompt, return_tensors="pt")
        kept = tokens[:1].tolist() + tokens[1:].tolist()[-most:]
        return tokens.new_tensor(kept).to(self.device)

    def _understood(self, forward: dict[str, Any]) -> dict[str, Any]:
        """Generation settings without what asks for nothing; those that the model cannot follow are refused."""
        kept = dict(forward)
        task, language = kept.get("task"), kept.get("language")
        if self._multilingual:
            if isinstance(language, str):
                self._check_language(language)
            return kept
        if task == "translate":
            raise _refused("task", "cannot be `translate`: this model does not translate")
        kept.pop("task", None)
        if self._whisper:
            if isinstance(language, str) and _code(language) != "en":
                raise _refused("language", "must be `en` or left out: this model knows English only")
            kept.pop("language", None)
            return kept
        for name in _NOT_WHISPER:
            if kept.get(name) is not None:
                raise _refused(name, "is for Whisper models; leave it out")
        return kept

    def _check_language(self, language: str) -> None:
        known = {token.strip("<|>") for token in self.model.generation_config.lang_to_id}
        if _code(language) not in known:
            raise _refused(
                "language", f"{language[:40]!r} is none that this model knows; it knows {', '.join(sorted(known))}"
            )

    def _language(self, forward: dict[str, Any]) -> str | None:
        """The language of the answer, where it is known before it is heard."""
        if not self._whisper:
            return None
        if not self._multilingual:
            return "english"
        given = forward.get("language") or getattr(self.model.generation_config, "language", None)
        name: str | None = LANGUAGES.get(_code(given)) if isinstance(given, str) else None
        return name

    def preprocess(
        self, inputs: Any, chunk_length_s: float = 0, stride_length_s: Any = None, only_longer: bool = False
    ) -> Iterator[dict[str, Any]]:
        """A sound → its pieces, each with the length of the whole."""
        seconds = self._length_s(inputs)
        # a sound that is one window of Whisper anyway shares batches with the windows of others
        if only_longer and seconds <= (0 if self._whisper else chunk_length_s):
            chunk_length_s = 0
        for row in super().preprocess(inputs, chunk_length_s, stride_length_s):
            row[_SECONDS] = seconds
            yield row

    def _length_s(self, inputs: Any) -> float:
        """Seconds of a sound; 0 for one that is a file still, which upstream decodes."""
        rate = self.feature_extractor.sampling_rate
        if isinstance(inputs, dict):
            rate, inputs = inputs.get("sampling_rate", rate), inputs.get("raw", inputs.get("array"))
        if not hasattr(inputs, "shape"):
            return 0.0
        return float(max(np.shape(inputs), default=0)) / float(rate)

    def _forward(self, model_inputs: Any, verbose: bool = False, **forward: Any) -> Any:
        """Upstream's, with the language of each row where it has to be heard."""
        spoken = None
        if verbose and self._hears_language(forward):
            names = {number: token for token, number in self.model.generation_config.lang_to_id.items()}
            encoder = self.model.model.encoder
            frames = encoder.conv1.stride[0] * encoder.conv2.stride[0] * self.model.config.max_source_positions
            spoken = self.model.detect_language(
                input_features=model_inputs["input_features"],
                generation_config=self.model.generation_config,
                num_segment_frames=frames,
            )
            # given to the model, which would otherwise listen for it a second time
            forward["language"] = [names[number] for number in spoken.tolist()]
        outputs = super()._forward(model_inputs, **forward)
        if spoken is not None:
            outputs[_SPOKEN] = spoken
        return outputs

    def _hears_language(self, forward: dict[str, Any]) -> bool:
        """Whether the model finds out the language by itself.

        With a task set, giving it the language that it hears is the same as giving none; without, upstream then sets
        the task.
        """
        if not self._multilingual:
            return False
        config = self.model.generation_config
        given = forward.get("language") or getattr(config, "language", None)
        task = forward.get("task") or getattr(config, "task", None)
        return given is None and task is not None and bool(getattr(config, "lang_to_id", None))

    def postprocess(
        self,
        model_outputs: Sequence[dict[str, Any]],
        decoder_kwargs: dict[str, Any] | None = None,
        return_timestamps: Any = None,
        return_language: bool | None = None,
        verbose: bool = False,
        language: str | None = None,
    ) -> dict[str, Any]:
        """The text of a sound; the outputs stay as they are, so that those of its first pieces can be read early."""
        rows = [{key: value for key, value in row.items() if key not in (_SECONDS, _SPOKEN)} for row in model_outputs]
        answer = super().postprocess([dict(row) for row in rows], decoder_kwargs, return_timestamps, return_language)
        if not verbose:
            return answer  # type: ignore[no-any-return]
        answer["language"] = language or self._heard(model_outputs)
        answer["duration"] = float(model_outputs[0].get(_SECONDS, 0.0))
        if self._whisper and return_timestamps:
            segments = answer["chunks"]
            if return_timestamps == "word":
                segments = super().postprocess([dict(row) for row in rows], return_timestamps=True)["chunks"]
            answer["segments"] = [{**segment, "tokens": self._tokens(segment["text"])} for segment in segments]
        return answer  # type: ignore[no-any-return]

    def _heard(self, model_outputs: Sequence[dict[str, Any]]) -> str | None:
        """The language of most pieces, the first of them where several have as many."""
        numbers = [int(row[_SPOKEN]) for row in model_outputs if _SPOKEN in row]
        if not numbers:
            return None
        most = max(numbers, key=numbers.count)
        name: str | None = LANGUAGES.get(str(self.tokenizer.convert_ids_to_tokens(most)).strip("<|>"))
        return name

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _code(language: str) -> str:
    """``en`` for English, ``en`` and ``<|en|>``."""
    name = language.lower().strip("<|>")
    return str(TO_LANGUAGE_CODE.get(name, name))


def _refused(name: str, why: str) -> InvalidParameterError:
    return InvalidParameterError(f"`parameters.{name}` {why}.", f"parameters.{name}")

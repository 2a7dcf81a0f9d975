"""Tokens → text, piece by piece: never half a character, and all pieces together are the whole text."""

from collections.abc import Callable

_INCOMPLETE = "\ufffd"
_SILENT = 16  # tokens without text that are decoded together
_CHARACTER = 4  # tokens of a character at most


class Detokenizer:
    """The text of one growing sequence.

    A token is decoded together with the few before it, as spaces and characters may depend on them, and gives what it
    adds to their text.

    Args:
        decode: tokens to text.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._begin = self._told = 0  # of the tokens decoded together; behind the last one whose text was given
        self.text = ""

    def push(self, token: int) -> str:
        """What ``token`` adds; nothing while a character is not complete."""
        self._ids.append(token)
        piece = self._added(self._ids[self._begin :])
        if piece:
            self._begin, self._told = self._told, len(self._ids)
        elif len(self._ids) - self._told > _SILENT:
            piece = self._settle()
        self.text += piece
        return piece

    def peek(self, token: int) -> str:
        """What ``token`` would add in place of the next one."""
        return self._added([*self._ids[self._begin :], token])

    def rest(self, whole: str) -> str:
        """What is left of ``whole``, the text of all tokens, after all that was given."""
        rest = whole[len(self.text) :] if whole.startswith(self.text) else ""
        self.text += rest
        return rest

    def _settle(self) -> str:
        """What is sure of many tokens without text: special ones, of which nothing comes, or bytes of no character."""
        before, now = self._decode(self._ids[self._begin : self._told]), self._decode(self._ids[self._begin :])
        last = len(self._ids) - _CHARACTER
        for end in range(last, last - _CHARACTER, -1):
            sure = self._decode(self._ids[self._begin : end])
            if sure == before:
                del self._ids[self._told : end]
                return ""
            if sure == now and not self._decode(self._ids[end:]):
                # of these nothing comes, and half a character before them may still be completed
                del self._ids[end:]
                return ""
            if sure.startswith(before) and now.startswith(sure):
                self._begin, self._told = self._told, end
                return sure[len(before) :]
        if len(self._ids) - self._told > 4 * _SILENT:
            self._begin = self._told = len(self._ids)
        return ""

    def _added(self, ids: list[int]) -> str:
        before = self._decode(self._ids[self._begin : self._told])
        now = self._decode(ids)
        if now.endswith(_INCOMPLETE) or not now.startswith(before):
            return ""
        return now[len(before) :]

"""When a text that grows has come to its end."""

from scripts.lib.generation.request import Request


class Ending:
    """Tells whether a text has ended; decodes it only where its last token may have closed it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._last_characters = {mark[-1] for mark in request.closing}
        self._may_close: dict[int, bool] = {}

    def reached(self, ids: list[int]) -> bool:
        """Whether the last token is an end, the last one allowed, or completes a closing mark."""
        token = ids[-1]
        if token in self._request.end_ids or len(ids) == self._request.settings.max_new_tokens:
            return True
        if token not in self._may_close:
            piece = self._request.text_of([token])
            # Part of a character's bytes is written as a replacement character.
            self._may_close[token] = "\ufffd" in piece or any(
                character in self._last_characters for character in piece
            )
        return self._may_close[token] and self._request.sample(0, 0, ids).finished

"""When a text that grows has come to its end."""

from scripts.lib.generation.request import Request


class Ending:
    """Tells whether a text has ended; decodes it only where its last token may have closed it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._last_characters = {mark[-1] for mark in request.closing}
        # By the last token of a prompt, behind which a token is decoded, and the token.
        self._may_close: dict[tuple[int, int], bool] = {}

    def reached(self, ids: list[int], number: int = 0) -> bool:
        """Whether the last token is an end, the last one allowed, or completes a closing mark.

        `number` is that of the text, whose prompt its tokens are decoded behind.
        """
        token = ids[-1]
        if token in self._request.end_ids or len(ids) == self._request.settings.max_new_tokens:
            return True
        if not self._last_characters:
            return False
        place = self._request.ids_of(number)[-1], token
        if place not in self._may_close:
            piece = self._request.text_of([token], number)
            # Part of a character's bytes is written as a replacement character.
            self._may_close[place] = "\ufffd" in piece or any(
                character in self._last_characters for character in piece
            )
        return self._may_close[place] and self._request.sample(number, 0, ids).finished

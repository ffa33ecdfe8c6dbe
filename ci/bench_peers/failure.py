"""What ends a comparison."""


class Failure(Exception):
    """Something missing or wrong, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint

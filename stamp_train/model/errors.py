"""The one exception that a caller of the model can cause."""


class StampModelError(ValueError):
    """Input, request or checkpoint at fault: says what is wrong, where, and what to do about it.

    Args:
        what: the fault, as one clause.
        where: the dialogue, image or file that has it.
        fix: what the caller can do.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message}. {fix}." if fix else message)

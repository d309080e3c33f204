"""Which parts of an answer speak to the judge instead of answering the question?"""


def find_spans(answer: str) -> list[tuple[int, int]]:
    return []


def leave_out(answer: str, spans: list[tuple[int, int]]) -> str:
    return answer

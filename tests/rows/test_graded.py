"""What did people say of these answers, and what is said about a file that cannot be read?

python -m pytest tests/rows/test_graded.py
"""

from pathlib import Path

import pytest

from mlflow_tracking.rows.graded import GradedData, GradedPairs, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.labels import WORDS, read_label


def written(folder: Path, content: str) -> Path:
    path = folder / "graded.csv"
    path.write_text(content, encoding="utf-8")
    return path


def graded(folder: Path, content: str, limit: int | None = None) -> GradedData:
    data = load_graded(written(folder, content), limit=limit)
    assert isinstance(data, GradedData)
    return data


def compared(folder: Path, content: str) -> GradedPairs:
    data = load_graded(written(folder, content))
    assert isinstance(data, GradedPairs)
    return data


def one_column(*cells: str) -> str:
    rows = [f'question,answer,"{cell}"' for cell in cells]
    return "\n".join(["inputs,predictions,human_score", *rows, ""])


def test_scores_are_read_with_reference_and_reason(tmp_path: Path) -> None:
    data = graded(
        tmp_path,
        "inputs,predictions,targets,human_score,human_feedback\nq,a,r,4, fine \np,b,,2.5,\n",
    )
    assert data.kind == "scale"
    assert data.human == [4.0, 2.5]
    assert [row.feedback for row in data.rows] == ["fine", ""]
    assert (data.rows[0].row.item.reference, data.rows[1].row.line) == ("r", 3)
    assert data.notes == ()


@pytest.mark.parametrize(
    ("cells", "human"),
    [
        (["4,5", "1", "5,0"], [4.5, 1, 5]),
        ([" 3 ", "+2", "4."], [3, 2, 4]),
        (["1", "5", "1"], [1, 5, 1]),
        (["3", "3", "3"], [3, 3, 3]),
    ],
    ids=["decimal-comma", "spaces-and-signs", "only-the-ends", "one-constant-score"],
)
def test_a_score_is_read_as_people_write_it(
    tmp_path: Path, cells: list[str], human: list[float]
) -> None:
    data = graded(tmp_path, one_column(*cells))
    assert (data.kind, data.human) == ("scale", human)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("1", "0"),
        ("1.0", "0.0"),
        ("1,0", "0,0"),
        ("true", "FALSE"),
        ("Yes", "no"),
        ("right", "wrong"),
        ("correct", "incorrect"),
        ("да", "Нет"),
        ("ВЕРНО", "неверно"),
        ("1", "no"),
        ("ИСТИНА", "ЛОЖЬ"),
        ("істина", "ХИБНІСТЬ"),
        ("Так", "Ні"),
        ("WAHR", "FALSCH"),
        ("Ja", "Nein"),
        ("VRAI", "FAUX"),
        ("Oui", "Non"),
        ("VERDADERO", "FALSO"),
        ("Sí", "No"),
        ("VERO", "FALSO"),
        ("VERDADEIRO", "FALSO"),
        ("Sim", "NÃO"),
        ("PRAWDA", "FAŁSZ"),
        ("DOĞRU", "YANLIŞ"),
        ("doğru", "yanlış"),
        ("EVET", "HAYIR"),
        ("evet", "hayır"),
        ("TOSI", "EPÄTOSI"),
        ("WAAR", "ONWAAR"),
        ("SANT", "FALSKT"),
        ("SAND", "FALSK"),
        ("SANN", "USANN"),
        ("PRAVDA", "NEPRAVDA"),
        ("IGAZ", "HAMIS"),
        ("ADEVĂRAT", "FALS"),
        ("ΑΛΗΘΗΣ", "ψευδής"),
        ("真", "假"),
        ("正确", "错误"),
        ("はい", "いいえ"),
        ("참", "거짓"),
        ("ĐÚNG", "SAI"),
        ("вірно", "неве\u0301рно"),
        ("ＴＲＵＥ", "\u00a0FALSE "),
        ("✓", "✗"),
        ("✔\ufe0f", "❌"),
        ("☑", "☐"),
        ("👍🏽", "👎"),
        ("+", "-"),
        ("＋", "−"),
    ],
)
def test_labels_are_found_by_their_values(tmp_path: Path, yes: str, no: str) -> None:
    data = graded(tmp_path, one_column(yes, no, yes))
    assert (data.kind, data.human) == ("binary", [1, 0, 1])


def test_no_word_is_right_in_one_language_and_wrong_in_another() -> None:
    labels = [(right.split(), wrong.split()) for right, wrong in WORDS.values()]
    assert {word for right, _ in labels for word in right if read_label(word) is not True} == set()
    assert {word for _, wrong in labels for word in wrong if read_label(word) is not False} == set()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "-", "0"], ":3: human_score is '-', which is a label beside '+' only; fill it in"),
        (["4", "—"], ":3: human_score is '—', which is a label beside '+' only"),
        (["5", "✓"], ":3: human_score is '✓', not a number; scores are 1-5"),
        (["ЛОЖЬ", "3"], ":3: human_score is '3' where other rows have labels ('ЛОЖЬ')"),
    ],
)
def test_a_dash_is_no_label_where_it_may_mean_nothing(
    tmp_path: Path, cells: list[str], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        graded(tmp_path, one_column(*cells))
    assert message in str(caught.value)


def test_ones_alone_are_scores_and_this_is_said(tmp_path: Path) -> None:
    data = graded(tmp_path, one_column("1", "1.0", "1"))
    assert (data.kind, data.human) == ("scale", [1, 1, 1])
    assert data.notes == (
        "every human_score is 1: read as the lowest score of 1-5, not as a label",
    )
    assert graded(tmp_path, one_column("yes", "yes")).kind == "binary"
    assert graded(tmp_path, one_column("0", "0")).kind == "binary"


def test_several_raters_are_averaged_and_a_gap_is_no_grade(tmp_path: Path) -> None:
    content = "inputs,predictions,human_score_10,human_score_2,human_score_02\nq,a,4,2,3\np,b,,5,\n"
    data = graded(tmp_path, content)
    assert data.raters == ("human_score_2", "human_score_02", "human_score_10")
    assert data.ratings == [(2.0, 3.0, 4.0), (5.0, None, None)]
    assert data.human == [3.0, 5.0]


def test_an_overall_score_goes_before_the_raters_mean(tmp_path: Path) -> None:
    content = "inputs,predictions,human_score,human_score_1,human_score_2\nq,a,5,4,2\n"
    assert graded(tmp_path, content).human == [5.0]


def test_columns_that_only_look_like_raters_are_none(tmp_path: Path) -> None:
    content = "inputs,predictions,human_score,human_score_raw\nq,a,5,0.75\n"
    assert graded(tmp_path, content).raters == ()


@pytest.mark.parametrize(
    ("written_as", "winner"),
    [
        *[("a", "a"), ("A", "a"), ("answer_a", "a"), (" Answer A ", "a"), ("model_a", "a")],
        *[("b", "b"), ("answer_B", "b"), ("В", "b"), ("а", "a")],
        *[("tie", "tie"), ("Ничья", "tie"), ("tie (bothbad)", "tie"), ("draw", "tie")],
    ],
)
def test_a_winner_is_read_as_people_write_it(tmp_path: Path, written_as: str, winner: str) -> None:
    data = compared(tmp_path, f"inputs,answer_a,answer_b,winner,targets\nq,x,y,{written_as},r\n")
    pair = data.pairs[0]
    assert (pair.winner, pair.answer_a, pair.answer_b) == (winner, "x", "y")
    assert (pair.row.item.question, pair.row.item.reference) == ("q", "r")


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    content = one_column("1", "0", "7")
    assert graded(tmp_path, content, limit=2).human == [1, 0]


SCORED = "inputs,predictions,human_score"
RATED = "inputs,predictions,human_score_1,human_score_2"
PAIRED = "inputs,answer_a,answer_b,winner"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,predictions,human_score\n", ":1: no column inputs; it has q, predictions, human_score"),
        (
            "inputs,predictions,score\nq,a,3\n",
            ":1: no column human_score; it has inputs, predictions, score, "
            "needs inputs,predictions,human_score",
        ),
        ("inputs,human_score\nq,3\n", ":1: no column predictions; it has inputs, human_score"),
        ("inputs,human_score_1\nq,3\n", ":1: no column predictions; it has inputs"),
        ("inputs\nq\n", ":1: no column predictions and human_score; it has inputs"),
        (f"{SCORED}\nq,a,3\nq,a,6\n", ":3: human_score is 6, off the scale; map it to 1-5"),
        (f"{SCORED}\nq,a,0.5\n", ":2: human_score is 0.5, off the scale"),
        (f"{SCORED}\nq,a,4\nq,a,0\n", ":3: human_score is 0, off the scale"),
        (f"{SCORED}\nq,a,-1\n", ":2: human_score is -1, off the scale"),
        (f"{SCORED}\nq,a,good\n", ":2: human_score is 'good', not a number; scores are 1-5"),
        (f"{SCORED}\nq,a,nan\n", ":2: human_score is 'nan', not a number"),
        (f"{SCORED}\nq,a,1e0\n", ":2: human_score is '1e0', not a number"),
        (f"{SCORED}\nq,a,٣\n", ":2: human_score is '٣', not a number"),
        (f"{SCORED}\nq,a,1\nq,a,0\nq,a,\n", ":4: human_score is empty; fill it in or remove"),
        (
            f"{SCORED}\nq,a,yes\nq,a,3\n",
            ":3: human_score is '3' where other rows have labels ('yes'); use labels or scores",
        ),
        (f"{SCORED}\nq,a,no\nq,a,maybe\n", ":3: human_score is 'maybe' where other rows have"),
        (f'{SCORED}\nq,a,"{"x" * 99}\ny"\n', f":2: human_score is '{'x' * 40}…', not a number"),
        (f"{RATED}\nq,a,3,4\nq,a,,\n", ":3: no rater graded this row; fill one in or remove"),
        (f"{RATED}\nq,a,3,9\n", ":2: human_score_2 is 9, off the scale; map it to 1-5"),
        (f"{RATED}\nq,a,yes,no\n", "labels such as right/wrong go into human_score"),
        (
            "inputs,answer_a,answer_b\nq,x,y\n",
            ":1: no column winner; it has inputs, answer_a, answer_b, "
            "needs inputs,answer_a,answer_b,winner",
        ),
        ("inputs,answer_a,winner\nq,x,a\n", ":1: no column answer_b; it has"),
        (f"{PAIRED}\nq,x,y,a\nq,x,y,c\n", ":3: winner is 'c'; write a, b or tie"),
        (f"{PAIRED}\nq,x,y,\n", ":2: winner is empty; fill it in or remove the row"),
        (
            "inputs,predictions,human_score,answer_a,answer_b,winner\nq,a,3,x,y,a\n",
            ":1: has the columns of scored answers and of pairs; split it into two files",
        ),
        (f"{SCORED}\n", ": has no rows below its header"),
        ("", ": is empty; its first line must name inputs"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_graded(written(tmp_path, content))
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/graded.csv")
    assert message in said
    assert "\n" not in said

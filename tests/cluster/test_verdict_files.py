"""Is a finished block whole, typed and readable, and do the totals of blocks equal those of a run?

python -m pytest tests/cluster/test_verdict_files.py
"""

import random
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from llm_client.settings import ROOT
from mlflow_tracking.cluster.verdict_files import JudgedBlock, OutputError, VerdictFolder
from mlflow_tracking.custom_metrics import percentile
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.verdict import FAILURES, Score, Status, Verdict
from mlflow_tracking.recording.sample import RowSample, worst_first
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.item import row_of
from mlflow_tracking.rows.row_files import RowBlock
from tests.support.scale_stub import read_prompt, scored

PROMPTS = ROOT / "mlflow_tracking/prompts"
PLAIN = load_prompt(PROMPTS / "judge_prompt_en.txt")
CRITERIA = load_prompt(PROMPTS / "judge_prompt_criteria.txt")


def some_verdicts(count: int, prompt: JudgePrompt, seed: int = 0) -> list[Verdict]:
    """Of every status, with and without probabilities, cut, flagged, retried."""
    chance = random.Random(seed)
    verdicts = []
    for _ in range(count):
        shares = (0.1, 0.1, 0.2, 0.3, 0.3) if chance.random() < 0.8 else None
        scores = {name: Score(chance.randint(1, 5), shares) for name in prompt.format.scores}
        status = chance.choice([Status.OK] * 8 + list(Status))
        if status not in (Status.OK, Status.TRUNCATED):
            verdicts.append(Verdict(status, "a reason", attempts=chance.randint(0, 3)))
            continue
        beside = [Score(value, shares) if chance.random() < 0.5 else None for value in (1, 5)]
        verdicts.append(
            Verdict(
                status,
                scores=scores,
                justification=chance.choice(["because", "вот […]"]),
                prompt_tokens=chance.randint(100, 900),
                completion_tokens=chance.randint(1, 90),
                cached_tokens=chance.randint(0, 90),
                latency_s=round(chance.uniform(0.01, 9), 4),
                attempts=chance.randint(1, 3) + (beside[1] is not None),
                claim=chance.choice(["", "a few words"]),
                claim_not_in_answer=chance.random() < 0.2,
                invented_quote=chance.choice(["", "x % 1"]),
                claim_score=beside[0],
                answer_score=beside[1],
            )
        )
    return verdicts


def block_of(
    verdicts: Sequence[Verdict], first: int = 1, file: str = "/data/a.csv"
) -> tuple[RowBlock, list[str]]:
    rows = []
    for number in range(first, first + len(verdicts)):
        columns = {"inputs": f"q{number}", "predictions": f"a{number}", "score": f"human {number}"}
        rows.append(row_of(number, number, columns))
    return RowBlock(file, tuple(rows)), [f"key {row.number}" for row in rows]


def written(
    folder: VerdictFolder, prompt: JudgePrompt, verdicts: Sequence[Verdict], size: int
) -> list[JudgedBlock]:
    """The verdicts as blocks that were written and read back."""
    for first in range(0, len(verdicts), size):
        part = verdicts[first : first + size]
        block, keys = block_of(part, first + 1)
        folder.write(block, keys, part, prompt.format)
    return [folder.read(name) for name in folder.names()]


@pytest.fixture
def folder(tmp_path: Path) -> VerdictFolder:
    (tmp_path / "out").mkdir()
    return VerdictFolder(str(tmp_path / "out"))


class TestABlock:
    @pytest.mark.parametrize("prompt", [PLAIN, CRITERIA], ids=["one score", "criteria"])
    def test_what_is_read_is_what_was_written(
        self, prompt: JudgePrompt, folder: VerdictFolder
    ) -> None:
        verdicts = some_verdicts(50, prompt)
        [block] = written(folder, prompt, verdicts, 50)
        assert list(block.verdicts) == verdicts
        assert [record["row"] for record in block.records] == list(range(1, 51))
        assert [record["inputs"] for record in block.records] == [f"q{n}" for n in range(1, 51)]
        assert [record["score"] for record in block.records] == [
            v.overall.value if v.overall else None for v in verdicts
        ]

    def test_a_column_of_the_file_that_has_a_name_of_ours_is_kept_beside_it(
        self, folder: VerdictFolder
    ) -> None:
        [block] = written(folder, PLAIN, some_verdicts(3, PLAIN), 3)
        assert [record["csv_score"] for record in block.records] == [
            f"human {n}" for n in (1, 2, 3)
        ]

    def test_all_blocks_have_the_same_types_whatever_came_of_their_rows(
        self, folder: VerdictFolder
    ) -> None:
        failed = [Verdict(Status.TIMEOUT, "slow")] * 4
        written(folder, CRITERIA, [*failed, *some_verdicts(4, CRITERIA)], 4)
        first, second = (pq.read_schema(path) for path in Path(folder.path).glob("*.parquet"))
        assert first == second
        assert {str(first.field(name).type) for name in CRITERIA.format.scores[:-1]} == {"int64"}

    def test_a_checklists_score_is_a_number_with_a_point_and_its_lines_are_whole(
        self, folder: VerdictFolder, tmp_path: Path
    ) -> None:
        prompt = read_prompt(tmp_path, "checklist")
        verdicts = [scored(prompt, 5, 2), scored(prompt, 5, 3), Verdict(Status.TIMEOUT, "slow")]
        [block] = written(folder, prompt, verdicts, 3)
        assert list(block.verdicts) == verdicts
        [path] = Path(folder.path).glob("*.parquet")
        types = {field.name: str(field.type) for field in pq.read_schema(path)}
        assert [types[n] for n in ("score", "Faithful", "Clear")] == ["double", "int64", "int64"]
        assert [record["score"] for record in block.records] == [
            pytest.approx(8 / 3, abs=1e-5),
            3.0,
            None,
        ]

    def test_rows_and_failures_are_told_without_the_rows(self, folder: VerdictFolder) -> None:
        verdicts = some_verdicts(30, PLAIN)
        written(folder, PLAIN, verdicts, 30)
        assert [(rows, failed) for _, rows, failed in folder.rows_by_name()] == [
            (30, sum(verdict.failed for verdict in verdicts))
        ]

    def test_nothing_but_whole_files_is_there(self, folder: VerdictFolder) -> None:
        """What a killed process left half-written has no name of a block."""
        (Path(folder.path) / ".a.csv-1-2.parquet.99").write_bytes(b"half")
        written(folder, PLAIN, some_verdicts(3, PLAIN), 3)
        assert len(folder.names()) == 1
        assert sorted(path.suffix for path in Path(folder.path).iterdir()) == [".99", ".parquet"]


class TestTheFolder:
    HEADER = {"judge": "abc", "temperature": 0.0}

    def test_it_is_begun_gone_on_with_and_remembers_its_run(self, tmp_path: Path) -> None:
        folder = VerdictFolder(str(tmp_path / "new/verdicts"))
        assert folder.open(self.HEADER) == ""
        folder.remember(self.HEADER, "run 1")
        assert VerdictFolder(folder.path).open(self.HEADER) == "run 1"

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ({"judge": "abd", "temperature": 1.0}, r"changed since: temperature \(was 0.0\);"),
            ({"judge": "abd", "temperature": 0.0}, r"changed since: judge \(was 'abc'\);"),
        ],
        ids=["a setting", "the code"],
    )
    def test_another_judge_is_refused(
        self, header: dict[str, object], said: str, folder: VerdictFolder
    ) -> None:
        folder.open(self.HEADER)
        with pytest.raises(OutputError, match=said):
            folder.open(header)

    def test_a_folder_with_other_files_is_refused(self, folder: VerdictFolder) -> None:
        (Path(folder.path) / "thesis.docx").touch()
        with pytest.raises(OutputError, match="holds other files; name a new folder"):
            folder.open(self.HEADER)
        assert [path.name for path in Path(folder.path).iterdir()] == ["thesis.docx"]

    def test_a_damaged_header_is_told(self, folder: VerdictFolder) -> None:
        (Path(folder.path) / "_judge.json").write_text('{"header": {')
        with pytest.raises(OutputError, match="_judge.json is damaged"):
            folder.open(self.HEADER)

    def test_two_processes_do_not_judge_into_one_folder(self, folder: VerdictFolder) -> None:
        with folder.locked(), pytest.raises(OutputError, match="another process judges into it"):  # noqa: SIM117
            with VerdictFolder(folder.path).locked():
                pass
        with folder.locked():
            folder.open(self.HEADER)  # the lock is no other file

    def test_a_file_in_its_place_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="--output .*file"):
            VerdictFolder(str(tmp_path / "file")).open(self.HEADER)


class TestTotals:
    @pytest.mark.parametrize("prompt", [PLAIN, CRITERIA], ids=["one score", "criteria"])
    @pytest.mark.parametrize("size", [7, 300])
    def test_those_of_blocks_are_those_of_the_whole_run(
        self, prompt: JudgePrompt, size: int, folder: VerdictFolder
    ) -> None:
        verdicts = some_verdicts(300, prompt)
        totals, whole = Totals(prompt), Totals(prompt)
        for block in written(folder, prompt, verdicts, size):
            totals.add(block.verdicts)
        whole.add(verdicts)
        assert totals.metrics(300, 10.0) == pytest.approx(whole.metrics(300, 10.0), rel=1e-9)

    def test_rows_that_no_block_has_were_not_judged(self) -> None:
        verdicts = some_verdicts(10, PLAIN)
        totals, whole = Totals(PLAIN), Totals(PLAIN)
        totals.add(verdicts)
        totals.add([None] * 5)
        whole.add([*verdicts, *[None] * 5])
        metrics, expected = totals.metrics(10, 1.0), whole.metrics(10, 1.0)
        for name in ("total", "failed", "not_judged", "scored"):
            assert metrics[f"llm_judge/rows_{name}"] == expected[f"llm_judge/rows_{name}"]
        for score in (1, 5):
            name = f"llm_judge/mean_if_failed_are_{score}"
            assert metrics[name] == pytest.approx(expected[name])

    def test_before_a_block_is_finished_every_count_is_there(self) -> None:
        totals = Totals(PLAIN)
        totals.add([None] * 60)
        metrics = totals.metrics(0, 1.0)
        assert metrics["llm_judge/rows_not_judged"] == metrics["llm_judge/rows_failed"] == 60
        counted = {name for name in metrics if name.startswith("llm_judge/rows_")}
        assert {f"llm_judge/rows_{status}" for status in FAILURES} < counted

    def test_without_a_single_score_there_is_no_mean(self) -> None:
        totals = Totals(PLAIN)
        totals.add([Verdict(Status.TIMEOUT, "slow")])
        metrics = totals.metrics(1, 1.0)
        assert "llm_judge_accuracy/v1/mean" not in metrics
        assert metrics["llm_judge/rows_timeout"] == metrics["llm_judge/rows_failed"] == 1

    @pytest.mark.parametrize("share", [0, 12.5, 50, 90, 95, 100])
    def test_percentiles_are_numpys(self, share: float) -> None:
        chance = random.Random(1)
        for count in (1, 2, 3, 10, 101):
            values = [chance.randint(1, 5) for _ in range(count)]
            counts = {value: values.count(value) for value in set(values)}
            assert percentile(counts, share) == pytest.approx(np.percentile(values, share))


class TestTheSample:
    def test_all_rows_if_they_are_no_more(self, folder: VerdictFolder) -> None:
        assert len(self.sampled(folder, some_verdicts(20, PLAIN), 20)) == 20

    def test_half_of_it_are_the_worst_rows(self, folder: VerdictFolder) -> None:
        verdicts = some_verdicts(400, PLAIN)
        sampled = self.sampled(folder, verdicts, 40)
        assert len(sampled) == len(set(sampled)) == 40
        assert set(sampled) >= {index + 1 for index in worst_first(verdicts)[:20]}
        assert sampled == sorted(sampled)

    def test_the_other_half_is_the_same_for_another_judge(self, folder: VerdictFolder) -> None:
        """Or two runs over the same rows could not be compared row by row."""
        lots = {n: zlib.crc32(f"/data/a.csv:{n}".encode()) for n in range(1, 401)}
        drawn = sorted(lots, key=lots.__getitem__)
        for seed in (1, 2):
            verdicts = some_verdicts(400, PLAIN, seed)
            worst = {index + 1 for index in worst_first(verdicts)[:20]}
            rest = [number for number in drawn if number not in worst][:20]
            assert set(self.sampled(folder, verdicts, 40)) == worst | set(rest)
            for path in Path(folder.path).glob("*.parquet"):
                path.unlink()

    def test_none_is_none(self, folder: VerdictFolder) -> None:
        assert self.sampled(folder, some_verdicts(5, PLAIN), 0) == []

    @staticmethod
    def sampled(folder: VerdictFolder, verdicts: Sequence[Verdict], limit: int) -> list[int]:
        sample = RowSample[int](limit)
        for block in written(folder, PLAIN, verdicts, 30):
            for record, verdict in zip(block.records, block.verdicts, strict=True):
                sample.add((record["file"], record["row"]), verdict, record["row"])
        return sample.rows()

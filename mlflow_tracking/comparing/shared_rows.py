"""Which rows of several runs are the same? Those that all of them have, side by side.

python mlflow_tracking/compare_runs.py RUN_A RUN_B RUN_C
python mlflow_tracking/run_experiment.py --data my.csv --not-worse-than RUN
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.rows.item import ANSWER, QUESTION
from mlflow_tracking.stats.estimate import Array


@dataclass(frozen=True)
class SharedRows:
    """The rows that all `runs` have, in the order of the first."""

    runs: tuple[JudgedRun, ...]
    places: NDArray[np.int64]  # shape (shared rows, runs): index into each run's rows
    keys: tuple[str, ...]  # what makes rows the same: inputs, or inputs and predictions

    @property
    def same_answers(self) -> bool:
        """Whether the runs judged the same answers, not only answers to the same questions."""
        return ANSWER in self.keys

    @property
    def questions(self) -> list[str]:
        """The question of each shared row."""
        return _texts(self.runs[0].rows)[QUESTION].iloc[self.places[:, 0]].tolist()

    def scores(self) -> Array:
        """Whole scores, shape (shared rows, runs); NaN without a verdict."""
        columns = [pd.to_numeric(run.rows["score"]).to_numpy(float) for run in self.runs]
        return np.column_stack([c[at] for c, at in zip(columns, self.places.T, strict=True)])

    def scored_by_all(self) -> "SharedRows":
        """The rows that have a verdict in every run."""
        return replace(self, places=self.places[~np.isnan(self.scores()).any(axis=1)])


def share_rows(runs: Sequence[JudgedRun]) -> SharedRows:
    """By question and answer as far as these are in all runs, the others by question alone.

    Repeated rows are taken in their order: the n-th of one run beside the n-th of the others.
    """
    tables = [_texts(run.rows) for run in runs]
    same = _merge(tables, [QUESTION, ANSWER])
    rest = [table.drop(index=same[:, n].tolist()) for n, table in enumerate(tables)]
    others = _merge(rest, [QUESTION])
    places = np.concatenate([same, others])
    keys = (QUESTION,) if len(others) else (QUESTION, ANSWER)
    return SharedRows(tuple(runs), places[np.argsort(places[:, 0])], keys)


def _texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Question and answer of each row, which is its index."""
    return rows[[QUESTION, ANSWER]].reset_index(drop=True).fillna("").astype(str)


def _merge(tables: Sequence[pd.DataFrame], keys: list[str]) -> NDArray[np.int64]:
    """Indices of the rows that are alike in `keys` in all tables, shape (rows, tables)."""
    sides = [
        table[keys].assign(nth=table.groupby(keys).cumcount()).assign(**{f"at_{n}": table.index})
        for n, table in enumerate(tables)
    ]
    merged = reduce(lambda left, right: left.merge(right, on=[*keys, "nth"]), sides)
    return merged[[f"at_{n}" for n in range(len(tables))]].to_numpy(np.int64)

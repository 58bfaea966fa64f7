"""What an evaluation found, a row a method, and the rule that no model stands without controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from cellkin.indexer.evaluation.metrics import Scores
from cellkin.indexer.measures import Counts
from cellkin.wire.errors import DimensionMismatchError, FailedPreconditionError

N_CONTROL_SEEDS = 3
"""Seeds of each control whose gene vectors are drawn."""

N_ABSENT = 10
"""Of fewer cells of absent types an AUROC is noise and is not shown."""


class Control(StrEnum):
    """What a model has to be set beside."""

    PCA_KNN = "pca-knn"
    HVG_PROTOTYPES = "hvg-prototypes"
    LOGISTIC_REGRESSION = "logistic-regression"
    MAJORITY = "majority"
    RANDOM_VECTORS = "random-vectors"
    PERMUTED_VECTORS = "permuted-vectors"


_BY_EXPRESSION = (
    Control.PCA_KNN,
    Control.HVG_PROTOTYPES,
    Control.LOGISTIC_REGRESSION,
    Control.MAJORITY,
)
_BY_VECTORS = (Control.RANDOM_VECTORS, Control.PERMUTED_VECTORS)


@dataclass(frozen=True)
class Setting:
    """What makes two rows rows of one method.

    Parameters
    ----------
    method
        What tables call it, such as ``text-v2, prototypes``.
    space
        ``text`` or ``expression``; empty for methods without a space.
    recipe
        The preset's name; empty for methods without.
    language_model
        The gene embedding; for permuted vectors that which was permuted; empty for none.
    refined
        Whether a contrastive head was trained.
    control
        Which control it is; None for a model or a peer.
    peer
        Whether it is another tool.
    """

    method: str
    space: str = ""
    recipe: str = ""
    language_model: str = ""
    refined: bool = False
    control: Control | None = None
    peer: bool = False

    @property
    def is_model(self) -> bool:
        """Whether it is a method of this project, which needs controls."""
        return self.control is None and not self.peer

    @property
    def by_expression(self) -> bool:
        """Whether it compares cells by genes that both sides measure, and so may be absent."""
        return self.peer or self.control in _BY_EXPRESSION or self.space == "expression"

    def controls(self, model: "Setting") -> bool:
        """Say whether this is a control of a model: all but the gene vectors are the same."""
        if self.control in _BY_EXPRESSION:
            return True
        if self.control not in _BY_VECTORS or model.space != "text":
            return False
        same = (self.space, self.recipe, self.refined) == (model.space, model.recipe, model.refined)
        permuted = self.control == Control.PERMUTED_VECTORS
        return same and (not permuted or self.language_model == model.language_model)


@dataclass(frozen=True)
class FewShotPoint:
    """Macro-F1 when so many cells a type are known.

    Parameters
    ----------
    n_shots
        Cells a type.
    macro_f1
        Mean over the draws.
    sd
        Their standard deviation; None for one draw.
    """

    n_shots: int
    macro_f1: float
    sd: float | None = None


@dataclass(frozen=True)
class LeftOutType:
    """How well a type was called unknown when the reference lacked it.

    Parameters
    ----------
    name
        The type.
    n_cells
        Its cells that were asked about.
    auroc
        How often one of them had a higher novelty than a cell of a known type.
    found
        Share of them called unknown; None where no threshold was set.
    """

    name: str
    n_cells: int
    auroc: float
    found: float | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """One run of one method.

    Parameters
    ----------
    setting
        The method.
    scores
        Its figures; None for a control that cannot be run, see ``why_absent``.
    seed
        Of the gene vectors or the head, where one was drawn.
    why_absent
        Why there are no figures, such as ``no gene is shared``; printed in the row's place.
    confusion
        (n_types, n_types + 1) int64, see `measures.confusion`; None where not kept.
    few_shot
        The few-shot curve, ascending; empty where not run.
    left_out
        Each type left out in turn; empty where not run.
    seconds
        Of the clock, for learning and labeling in all splits.
    peak_bytes
        The most memory a split took; None where not measured.
    """

    setting: Setting
    scores: Scores | None
    seed: int | None = None
    why_absent: str = ""
    confusion: Counts | None = None
    few_shot: tuple[FewShotPoint, ...] = ()
    left_out: tuple[LeftOutType, ...] = ()
    seconds: float | None = None
    peak_bytes: int | None = None

    def __post_init__(self) -> None:
        if (self.scores is None) != bool(self.why_absent):
            raise FailedPreconditionError(
                f"row {self.setting.method!r} has {'no' if self.scores is None else 'its'} scores "
                f"and the reason {self.why_absent!r}; give either"
            )
        if self.scores is None and not self.setting.by_expression:
            raise FailedPreconditionError(
                f"row {self.setting.method!r} has no scores; only methods by expression may be "
                "absent, where reference and query share no gene"
            )

    @property
    def unknown_auroc(self) -> float | None:
        """The mean over types left out; without these that of absent types, if not too few."""
        if self.left_out:
            return float(np.mean([left.auroc for left in self.left_out]))
        if self.scores is None or self.scores.n_absent < N_ABSENT:
            return None
        return self.scores.unknown_auroc

    def figure(self, name: str) -> float | None:
        """Return a figure of `Scores` as tables show it, None where the row has none."""
        if name == "unknown_auroc":
            return self.unknown_auroc
        value: float | None = getattr(self.scores, name, None)
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the row as what `json` writes."""
        own = {
            name: value
            for name, value in vars(self).items()
            if name in ("seed", "why_absent", "seconds", "peak_bytes")
        }
        return {
            **vars(self.setting),
            **own,
            "scores": None if self.scores is None else self.scores.to_json(),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "few_shot": [vars(point) for point in self.few_shot],
            "left_out": [vars(left) for left in self.left_out],
        }


@dataclass(frozen=True, eq=False)
class Report:
    """The rows of one question. It cannot be made without the controls of its models.

    Parameters
    ----------
    title
        Such as ``Human pancreas``.
    question
        The split in words, such as ``each of 4 donors labeled by the other 3``.
    reference, query
        What the cells are; ``query`` is empty where they are of the reference.
    types
        The types, by code.
    reference_counts
        Reference cells of each type.
    rows
        One a run.
    versions
        Names and versions of all that the rows depend on.
    notes
        Sentences to print below the table.

    Raises
    ------
    FailedPreconditionError
        If a model lacks a control; ``metadata`` names the model and what is missing.
    """

    title: str
    question: str
    reference: str
    types: tuple[str, ...]
    reference_counts: tuple[int, ...]
    rows: tuple[Row, ...]
    query: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.types) != len(self.reference_counts):
            raise DimensionMismatchError(
                f"{len(self.types)} types and {len(self.reference_counts)} counts; give one a type"
            )
        for model in {row.setting: None for row in self.rows if row.setting.is_model}:
            missing = _missing(model, self.rows)
            if missing:
                raise FailedPreconditionError(
                    f"model row {model.method!r} lacks its controls: {', '.join(missing)}. A "
                    "figure says nothing without them; run them in the same splits",
                    {"method": model.method, "missing": ", ".join(missing)},
                )

    def to_json(self) -> dict[str, Any]:
        """Return the report as what `json` writes."""
        return {
            **vars(self),
            "versions": dict(self.versions),
            "rows": [row.to_json() for row in self.rows],
        }


def _missing(model: Setting, rows: Sequence[Row]) -> list[str]:
    beside = [row for row in rows if row.setting.controls(model)]
    missing = [c.value for c in _BY_EXPRESSION if all(row.setting.control != c for row in beside)]
    for control in _BY_VECTORS if model.space == "text" else ():
        seeds = {row.seed for row in beside if row.setting.control == control}
        if len(seeds) < N_CONTROL_SEEDS:
            missing.append(f"{control.value} ({len(seeds)} of {N_CONTROL_SEEDS} seeds)")
    return missing


@dataclass(frozen=True, eq=False)
class Line:
    """The rows of one method that differ in their seed alone, and where it stands in a table.

    Parameters
    ----------
    rows
        At least one.
    beside
        The model it is a control of by its gene vectors; None for all others.
    """

    rows: tuple[Row, ...]
    beside: Setting | None = None

    @property
    def setting(self) -> Setting:
        """Of all its rows."""
        return self.rows[0].setting

    @property
    def first(self) -> Row:
        """The row whose pictures are shown."""
        return self.rows[0]

    def figures(self, name: str) -> list[float]:
        """Return a figure (`Row.figure`) over the seeds that have it."""
        return [value for row in self.rows if (value := row.figure(name)) is not None]

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure over seeds, None where no row has it."""
        values = self.figures(name)
        return float(np.mean(values)) if values else None

    def sd(self, name: str) -> float | None:
        """Return its standard deviation over seeds, None for fewer than two."""
        values = self.figures(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the ends of a figure's interval, over seeds the outermost; None without any."""
        found = [
            row.scores.intervals[name]
            for row in self.rows
            if row.scores is not None and name in row.scores.intervals
        ]
        return (min(i.low for i in found), max(i.high for i in found)) if found else None


def lines(report: Report) -> list[Line]:
    """Order a report's rows: each model with its own controls, other controls, other tools."""
    by_setting: dict[Setting, list[Row]] = {}
    for row in report.rows:
        by_setting.setdefault(row.setting, []).append(row)
    ordered: list[Line] = []
    for model in (s for s in by_setting if s.is_model):
        ordered.append(Line(tuple(by_setting[model])))
        ordered += [
            Line(tuple(rows), model)
            for setting, rows in by_setting.items()
            if setting.control in _BY_VECTORS and setting.controls(model)
        ]
    for control in _BY_EXPRESSION:
        ordered += [Line(tuple(rows)) for s, rows in by_setting.items() if s.control == control]
    return ordered + [Line(tuple(rows)) for s, rows in by_setting.items() if s.peer]


def best_control(model: Line, all_lines: Sequence[Line]) -> Line:
    """Return the control of a model that has the highest macro-F1."""
    beside = [
        line
        for line in all_lines
        if line.setting.controls(model.setting) and line.mean("macro_f1") is not None
    ]
    return max(beside, key=lambda line: line.mean("macro_f1") or 0.0)

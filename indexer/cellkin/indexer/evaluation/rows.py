"""Results of an evaluation; a report must have all controls of its models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from cellkin.indexer.evaluation.metrics import Scores
from cellkin.indexer.measures import Counts
from cellkin.wire.errors import DimensionMismatchError, FailedPreconditionError

N_CONTROL_SEEDS = 3
"""Number of seeds of each control with random or permuted gene embeddings."""

N_ABSENT = 10
"""With fewer cells of absent types the AUROC would be noise, and is not shown."""


class Control(StrEnum):
    """Controls that a model is compared with."""

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
    """Identity of a method; rows of one setting differ in their seed.

    Parameters
    ----------
    method
        Its name in tables, such as ``text-v2, prototypes``.
    space
        ``text`` or ``expression``; empty for methods without a space.
    recipe
        Name of the recipe; empty for methods without one.
    language_model
        The gene embedding, for controls that of their model; empty for none. It has the version if
        several versions of it are compared.
    refined
        Whether a contrastive head was trained.
    control
        Kind of control; None for a model or a peer.
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
        """Whether it needs genes shared by reference and query, and so may have no figures."""
        return self.peer or self.control in _BY_EXPRESSION or self.space == "expression"

    def controls(self, model: "Setting") -> bool:
        """Return whether this is a control of a model: only the gene embeddings may differ."""
        if self.control in _BY_EXPRESSION:
            return True
        if self.control not in _BY_VECTORS or model.space != "text":
            return False
        return replace(self, method=model.method, control=None) == model


@dataclass(frozen=True)
class FewShotPoint:
    """Macro-F1 with few reference cells of each type.

    Parameters
    ----------
    n_shots
        Number of cells of each type.
    macro_f1
        Mean over the draws.
    sd
        Standard deviation over the draws; None for one draw.
    """

    n_shots: int
    macro_f1: float
    sd: float | None = None


@dataclass(frozen=True)
class LeftOutType:
    """Detection of a type's cells as unknown if it is left out of the reference.

    Parameters
    ----------
    name
        Name of the type.
    n_cells
        Number of its test cells.
    auroc
        AUROC of novelty between these and cells of known types.
    found
        Share of these labeled unknown; None without a threshold.
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
        Its figures; None if it could not be run, see ``why_absent``.
    seed
        Seed of random or permuted gene embeddings.
    why_absent
        Reason for missing figures, such as ``no gene is shared``; printed instead of them.
    confusion
        (n_types, n_types + 1) int64, see `cellkin.indexer.measures.confusion`; None if not kept.
    few_shot
        The few-shot curve, ascending; empty if not run.
    left_out
        Results of leaving each type out; empty if not run.
    seconds
        Wall time of fitting and labeling in all splits.
    peak_bytes
        Peak memory of any split; None if not measured.
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
        """Mean over left-out types, or else that of absent types if they have enough cells."""
        if self.left_out:
            return float(np.mean([left.auroc for left in self.left_out]))
        if self.scores is None or self.scores.n_absent < N_ABSENT:
            return None
        return self.scores.unknown_auroc

    def figure(self, name: str) -> float | None:
        """Return a figure of `Scores` as shown in tables; None if the row has none."""
        if name == "unknown_auroc":
            return self.unknown_auroc
        value: float | None = getattr(self.scores, name, None)
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the row in types that `json` writes."""
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
    """Rows of one question, with all controls of its models.

    Parameters
    ----------
    title
        Title, such as ``Human pancreas``.
    question
        Description of the split, such as ``each of 4 donors labeled by the other 3``.
    reference, query
        Names of the files; ``query`` is empty if the reference was split.
    types
        Names of the types, by code.
    reference_counts
        Number of reference cells of each type.
    rows
        One per run.
    versions
        Names and versions of what the rows depend on.
    notes
        Sentences printed below the table.

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
        """Return the report in types that `json` writes."""
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
    """Rows of one setting, which are one line of a table.

    Parameters
    ----------
    rows
        At least one.
    beside
        The model of a control with random or permuted gene embeddings; else None.
    """

    rows: tuple[Row, ...]
    beside: Setting | None = None

    @property
    def setting(self) -> Setting:
        """The setting of all its rows."""
        return self.rows[0].setting

    @property
    def first(self) -> Row:
        """First row, whose drawings are shown."""
        return self.rows[0]

    def figures(self, name: str) -> list[float]:
        """Return the values of a figure (`Row.figure`) over the seeds that have it."""
        return [value for row in self.rows if (value := row.figure(name)) is not None]

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure over seeds; None if no row has it."""
        values = self.figures(name)
        return float(np.mean(values)) if values else None

    def sd(self, name: str) -> float | None:
        """Return the standard deviation of a figure over seeds; None for fewer than two."""
        values = self.figures(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the outermost ends of a figure's intervals over seeds; None if there are none."""
        found = [
            row.scores.intervals[name]
            for row in self.rows
            if row.scores is not None and name in row.scores.intervals
        ]
        return (min(i.low for i in found), max(i.high for i in found)) if found else None


def lines(report: Report) -> list[Line]:
    """Group a report's rows: models with their own controls, other controls, other tools."""
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
    """Return the control of a model with the highest macro-F1."""
    beside = [
        line
        for line in all_lines
        if line.setting.controls(model.setting) and line.mean("macro_f1") is not None
    ]
    return max(beside, key=lambda line: line.mean("macro_f1") or 0.0)

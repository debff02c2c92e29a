"""A ``MujocoTask`` bound to a model: observations, rewards and success of N environments at once.

Everything that the task names becomes columns of ``readings`` [N, Q]: entries of MuJoCo's arrays,
which the engine copies, and what functions give. A quantity of k entries is then an array [k, 2] of
column numbers: each entry is the first column less the second, which may be a column of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numba import njit

from robolearn.errors import UserError
from sim.engine.segments import Layout, Segment, whole
from sim.mujoco.task import ARRAYS, Formula, Goal, MujocoTask, Quantity, named_segment

VALUE_AT_MARGIN = 0.1

# A goal, or a function in its place. Its quantity are the columns ``start`` to ``stop``.
RULE = np.dtype(
    [
        ("start", np.int64),
        ("stop", np.int64),
        ("plain", np.bool_),  # a function, whose value is taken as it is
        ("low", np.float64),
        ("high", np.float64),
        ("margin", np.float64),
        ("weight", np.float64),
    ]
)


Columns = slice | np.ndarray
Input = tuple[Columns, Columns | None]  # of a formula: an array [N, k], less another


class Outcome(NamedTuple):
    """What N environments show after a step."""

    observation: np.ndarray  # [N, O] float32
    terms: np.ndarray  # [R, N] weighted terms of the reward
    reward: np.ndarray  # [N]
    success: np.ndarray  # [N] bool
    failure: np.ndarray  # [N] bool


class TaskArrays:
    """Evaluates a task on readings [N, Q] that are laid out by ``layout``.

    ``forward`` says that accelerations and forces must be up to date in what is read. Raises
    UserError for unknown names and for functions whose result has another size than it must.
    """

    def __init__(
        self, task: MujocoTask, model: mujoco.MjModel, data: mujoco.MjData, where: str
    ) -> None:
        self._model, self._data, self._where = model, data, where
        self.layout = Layout()
        self._nothing = self.layout.reserve(1).start  # a column of zeros
        self._functions: list[tuple[Callable[..., Any], slice]] = []
        self._formulas: list[tuple[Formula, list[Input], slice]] = []
        self.forward = False
        observed = [self._quantity(quantity) for quantity in task.observation]
        self.sizes = [len(columns) for columns in observed]
        self._observed = _joined(observed)
        self._terms = tuple(task.reward)
        kinds = task.reward, _numbered("success", task.success), _numbered("failure", task.failure)
        self._ends = np.cumsum([len(rules) for rules in kinds])  # behind each kind's last rule
        self._columns, self._rules = self._bound([rule for kind in kinds for rule in kind.items()])

    @property
    def calls_python(self) -> bool:
        """Whether ``call`` does anything: the task has functions ``(model, data) -> value``."""
        return bool(self._functions)

    def read(self, data: mujoco.MjData, row: np.ndarray) -> None:
        """Copy MuJoCo's entries into a row [Q], as the compiled engine does."""
        row[Layout.TIME] = data.time
        for segment, columns in self.layout.segments.items():
            row[columns] = segment.view(data)

    def call(self, model: mujoco.MjModel, data: mujoco.MjData, row: np.ndarray) -> None:
        """Call the functions ``(model, data) -> value`` for one environment's row [Q]."""
        for function, columns in self._functions:
            row[columns] = np.ravel(function(model, data))

    def evaluate(self, readings: np.ndarray) -> Outcome:
        """Give all that the task says of N environments."""
        for formula, inputs, columns in self._formulas:
            values = formula.function(*(_values(one, readings) for one in inputs))
            readings[:, columns] = np.reshape(values, (len(readings), -1))
        n = len(readings)
        outcome = Outcome(
            observation=np.empty((n, len(self._observed)), np.float32),
            terms=np.empty((len(self._terms), n)),
            reward=np.zeros(n),
            success=np.empty(n, bool),
            failure=np.empty(n, bool),
        )
        rules = self._columns, self._rules, self._ends
        _evaluate(readings, self._observed, *rules, *outcome)
        return outcome

    def named(self, terms: np.ndarray) -> dict[str, np.ndarray]:
        """Give the reward's terms [R, N] by name; "task", which is 0, if the task has none."""
        if not self._terms:
            return {"task": np.zeros(terms.shape[1])}
        return dict(zip(self._terms, terms, strict=True))

    # ------------------------------------------------------------------------------- construction

    def _quantity(self, quantity: Quantity) -> np.ndarray:
        if isinstance(quantity, Formula):
            return self._formula(quantity)
        if callable(quantity):
            return self._function(quantity)
        first, minus, second = quantity.partition(" - ")
        plus = self._place(first.strip())
        if not minus:
            return self._alone(plus)
        less = self._place(second.strip())
        if len(plus) != len(less) and 1 not in (len(plus), len(less)):
            raise UserError(
                f"{self._where}: '{quantity}': {len(plus)} entries less {len(less)} entries"
            )
        return np.stack(np.broadcast_arrays(plus, less), axis=1)

    def _place(self, name: str) -> np.ndarray:
        if name == "time":
            return np.array([Layout.TIME])
        segment = self._segment(name)
        self.forward |= segment.array == "sensordata" and self._is_of_acceleration(segment)
        return _range(self.layout.add(segment))

    def _segment(self, quantity: str) -> Segment:
        if quantity in ARRAYS:
            return whole(self._data, quantity)
        return named_segment(self._model, self._data, quantity, self._where)

    def _is_of_acceleration(self, segment: Segment) -> bool:
        sensor = int(np.flatnonzero(self._model.sensor_adr == segment.start)[-1])
        return self._model.sensor_needstage[sensor] == mujoco.mjtStage.mjSTAGE_ACC

    def _function(self, function: Callable[..., Any]) -> np.ndarray:
        self.forward = True  # who knows what it reads
        columns = self.layout.reserve(np.size(function(self._model, self._data)))
        self._functions.append((function, columns))
        return self._alone(_range(columns))

    def _formula(self, formula: Formula) -> np.ndarray:
        for known, _, columns in self._formulas:
            if known is formula:
                return self._alone(_range(columns))
        inputs = [self._input(self._quantity(quantity)) for quantity in formula.inputs]
        two = np.zeros((2, self.layout.width))  # would show a result that is not one for each
        for row in two:
            self.read(self._data, row)
            self.call(self._model, self._data, row)
        values = np.asarray(formula.function(*(_values(one, two) for one in inputs)))
        if values.ndim not in (1, 2) or len(values) != 2:
            raise UserError(
                f"{self._where}: the formula of {', '.join(formula.inputs)} gives shape "
                f"{values.shape} for 2 environments instead of (2,) or (2, entries)"
            )
        columns = self.layout.reserve(values.size // 2)
        self._formulas.append((formula, inputs, columns))
        return self._alone(_range(columns))

    def _input(self, columns: np.ndarray) -> Input:
        plus, less = columns.T
        return _columns(plus), None if (less == self._nothing).all() else _columns(less)

    def _alone(self, plus: np.ndarray) -> np.ndarray:
        return np.stack([plus, np.full_like(plus, self._nothing)], axis=1)

    def _bound(self, rules: list[tuple[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Give the columns of all rules [k, 2], and the rules RULE [R]."""
        columns, table = [], np.zeros(len(rules), RULE)
        for row, (name, rule) in zip(table, rules, strict=True):
            row["start"] = sum(map(len, columns))
            columns.append(self._rule_columns(name, rule))
            row["stop"] = row["start"] + len(columns[-1])
            row["plain"] = not isinstance(rule, Goal)
            goal = Goal("") if row["plain"] else rule
            for field in ("low", "high", "margin", "weight"):
                row[field] = getattr(goal, field)
        return _joined(columns), table

    def _rule_columns(self, name: str, rule: Any) -> np.ndarray:
        columns = self._quantity(rule.quantity if isinstance(rule, Goal) else rule)
        if not len(columns):
            raise UserError(f"{self._where}: {name}: the quantity has no entries")
        if not isinstance(rule, Goal) and len(columns) != 1:
            raise UserError(f"{self._where}: {name}: {len(columns)} values instead of one")
        return columns


def _numbered(name: str, rules: Any) -> dict[str, Any]:
    """Name goals, or the one function that takes their place, for messages."""
    if callable(rules) or isinstance(rules, Formula):
        return {name: rules}
    return {f"{name}[{i}]": goal for i, goal in enumerate(rules)}


def _joined(columns: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros((0, 2), np.int64), *columns])


def _columns(numbers: np.ndarray) -> Columns:
    """Give columns in the way that is read fastest."""
    start, stop = numbers[0], numbers[-1] + 1
    return slice(start, stop) if np.array_equal(numbers, np.arange(start, stop)) else numbers


def _values(columns: Input, readings: np.ndarray) -> np.ndarray:
    """Give a quantity [N, k], a copy."""
    plus, less = columns
    return readings[:, plus].copy() if less is None else readings[:, plus] - readings[:, less]


def _range(columns: slice) -> np.ndarray:
    return np.arange(columns.start, columns.stop)


# ------------------------------------------------------------------------------------ compiled code


@njit(cache=True, error_model="numpy")
def goal_value(size: float, low: float, high: float, margin: float) -> float:
    """Say how well a goal is met: 1 within the bounds, falling to 0 outside as a Gaussian.

    At the margin's distance it is VALUE_AT_MARGIN; without a margin it is 0 everywhere outside.
    """
    outside = max(low - size, size - high, 0.0)
    if margin == 0 or outside == 0:
        return 1.0 if outside == 0 else 0.0
    return math.exp(math.log(VALUE_AT_MARGIN) * (outside / margin) ** 2)


@njit(error_model="numpy")
def _size(row: np.ndarray, columns: np.ndarray, start: int, stop: int) -> float:
    """Give the only entry of a quantity with its sign, or the norm of several."""
    if stop - start == 1:
        return row[columns[start, 0]] - row[columns[start, 1]]
    total = 0.0
    for k in range(start, stop):
        total += (row[columns[k, 0]] - row[columns[k, 1]]) ** 2
    return math.sqrt(total)


@njit(error_model="numpy")
def _rule_value(row: np.ndarray, columns: np.ndarray, rule: np.record) -> float:
    size = _size(row, columns, rule.start, rule.stop)
    if rule.plain:
        return size
    return goal_value(size, rule.low, rule.high, rule.margin)


@njit(error_model="numpy")
def _all_met(row: np.ndarray, columns: np.ndarray, rules: np.ndarray) -> bool:
    """Say whether rules hold: goals wholly, functions if not zero; none do not."""
    for r in range(len(rules)):
        value = _rule_value(row, columns, rules[r])
        if value == 0 or (value != 1 and not rules[r].plain):
            return False
    return len(rules) > 0


@njit(cache=True, error_model="numpy")
def _evaluate(
    readings: np.ndarray,
    observed: np.ndarray,
    columns: np.ndarray,
    rules: np.ndarray,
    ends: np.ndarray,
    observation: np.ndarray,
    terms: np.ndarray,
    reward: np.ndarray,
    success: np.ndarray,
    failure: np.ndarray,
) -> None:
    """Fill an ``Outcome``."""
    of_success, of_failure = rules[ends[0] : ends[1]], rules[ends[1] :]
    for n in range(len(readings)):
        row = readings[n]
        for o in range(len(observed)):
            observation[n, o] = row[observed[o, 0]] - row[observed[o, 1]]
        for r in range(ends[0]):
            terms[r, n] = rules[r].weight * _rule_value(row, columns, rules[r])
            reward[n] += terms[r, n]
        success[n] = _all_met(row, columns, of_success)
        failure[n] = _all_met(row, columns, of_failure)

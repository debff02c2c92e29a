"""Our environments under ids for gymnasium: ``gymnasium.make("robolearn/robosuite-Lift-v0")``.

Such an id has one slash and no "+", hence ``robolearn/ADAPTER-TASK-v0``, and "-" between the
objects of a tabletop; ``robolearn/mujoco-v0`` takes the model as ``path=``. Our options are keyword
arguments. ``gymnasium.make_vec`` gives a batch of ``sim.make_vec``, which takes ``threads=`` and
``autoreset_mode=`` too and by default resets an environment in the step that ends its episode
(SAME_STEP). Told ``vectorization_mode="sync"`` or ``"async"`` it gives gymnasium's own batch, which
does so in the next step (NEXT_STEP). ``max_episode_steps=`` is for ``gymnasium.make`` and those
batches; ours takes the ``horizon``.

The names are written down, since listing them would import every simulator; a test compares them
with ``sim.available``.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from robolearn.errors import UserError
from sim.base.env import OURS
from sim.base.options import RENDER_MODE
from sim.batches import make_vec
from sim.registry import make

NAMES = {
    "robosuite": """
        Door Lift NutAssembly NutAssemblyRound NutAssemblySingle NutAssemblySquare PickPlace
        PickPlaceBread PickPlaceCan PickPlaceCereal PickPlaceMilk PickPlaceSingle Stack ToolHang
        TwoArmHandover TwoArmLift TwoArmPegInHole TwoArmTransport Wipe
    """,
    "dmc": """
        acrobot-swingup acrobot-swingup_sparse
        ball_in_cup-catch
        cartpole-balance cartpole-balance_sparse cartpole-swingup cartpole-swingup_sparse
        cartpole-three_poles cartpole-two_poles
        cheetah-run
        dog-fetch dog-run dog-stand dog-trot dog-walk
        finger-spin finger-turn_easy finger-turn_hard
        fish-swim fish-upright
        hopper-hop hopper-stand
        humanoid-run humanoid-run_pure_state humanoid-stand humanoid-walk
        humanoid_CMU-run humanoid_CMU-stand humanoid_CMU-walk
        lqr-lqr_2_1 lqr-lqr_6_2
        manipulator-bring_ball manipulator-bring_peg manipulator-insert_ball manipulator-insert_peg
        pendulum-swingup
        point_mass-easy point_mass-hard
        quadruped-escape quadruped-fetch quadruped-run quadruped-walk
        reacher-easy reacher-hard
        stacker-stack_2 stacker-stack_4
        swimmer-swimmer15 swimmer-swimmer6
        walker-run walker-stand walker-walk
    """,
    "tabletop": """
        cube cylinder mug
        cube+cube cube+cylinder cube+mug cylinder+cylinder cylinder+mug mug+mug
        cube+cube+cube cube+cube+cylinder cube+cube+mug cube+cylinder+cylinder cube+cylinder+mug
        cube+mug+mug cylinder+cylinder+cylinder cylinder+cylinder+mug cylinder+mug+mug mug+mug+mug
    """,
    "metaworld": """
        assembly-v3 basketball-v3 bin-picking-v3 box-close-v3 button-press-topdown-v3
        button-press-topdown-wall-v3 button-press-v3 button-press-wall-v3
        coffee-button-v3 coffee-pull-v3 coffee-push-v3 dial-turn-v3 disassemble-v3
        door-close-v3 door-lock-v3 door-open-v3 door-unlock-v3 drawer-close-v3
        drawer-open-v3 faucet-close-v3 faucet-open-v3 hammer-v3 hand-insert-v3
        handle-press-side-v3 handle-press-v3 handle-pull-side-v3 handle-pull-v3
        lever-pull-v3 peg-insert-side-v3 peg-unplug-side-v3 pick-out-of-hole-v3
        pick-place-v3 pick-place-wall-v3 plate-slide-back-side-v3 plate-slide-back-v3
        plate-slide-side-v3 plate-slide-v3 push-back-v3 push-v3 push-wall-v3 reach-v3
        reach-wall-v3 shelf-place-v3 soccer-v3 stick-pull-v3 stick-push-v3 sweep-into-v3
        sweep-v3 window-close-v3 window-open-v3
    """,
}
MODEL_ID = f"{OURS}mujoco-v0"


def register_ids() -> None:
    """Tell gymnasium all ids, once."""
    _register(MODEL_ID, "model", {})
    for adapter, names in NAMES.items():
        for name in names.split():
            environment = f"{adapter}/{name}"
            _register(gymnasium_id(environment), "one", {"environment": environment})


def gymnasium_id(environment: str) -> str:
    """Give the id of the environment that we call ADAPTER/TASK."""
    return f"{OURS}{environment.replace('/', '-').replace('+', '-')}-v0"


def make_one(environment: str, **options: Any) -> gymnasium.Env:
    """Make an environment, for ``gymnasium.make``."""
    return make(environment, **options)


def vec_one(environment: str, num_envs: int, **options: Any) -> gymnasium.vector.VectorEnv:
    """Make a batch, for ``gymnasium.make_vec``; raise UserError for ``max_episode_steps``."""
    if "max_episode_steps" in options:
        said = "the task's horizon" if environment.startswith("mujoco/") else "horizon="
        raise UserError(
            f"{environment}: where a batch's episodes end is said by {said}, not max_episode_steps="
        )
    return make_vec(environment, num_envs, **options)


def make_model(path: str | None = None, **options: Any) -> gymnasium.Env:
    """Make an environment of the MuJoCo model at ``path``."""
    return make(_of_model(path), **options)


def vec_model(num_envs: int, path: str | None = None, **options: Any) -> gymnasium.vector.VectorEnv:
    """Make a batch of the MuJoCo model at ``path``."""
    return vec_one(_of_model(path), num_envs, **options)


# By this gymnasium knows that it may turn images into windows ("human") or lists of them.
make_one.metadata = make_model.metadata = {"render_modes": [RENDER_MODE]}


def _of_model(path: str | None) -> str:
    if path is None:
        raise UserError(f"{MODEL_ID}: say which model, path='model.xml'")
    return f"mujoco/{path}"


def _register(name: str, what: str, kwargs: dict[str, Any]) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point=f"{__name__}:make_{what}",
            vector_entry_point=f"{__name__}:vec_{what}",
            kwargs=kwargs,
        )

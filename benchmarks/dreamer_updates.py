"""Updates a second of our Dreamer beside TorchRL's, on one thread: world model, policy and value.

    pip install torchrl==0.14.1
    python benchmarks/dreamer_updates.py [rounds]

Prints JSON lines. Both have the sizes of ``small`` (images 64 x 64, depth 8, deterministic 128,
stochastic 16, heads of 2 x 128 units, 16 sequences of 16, 15 imagined steps) and eat the same
batches. TorchRL's is its ``sota-implementations/dreamer``, put together from its modules and
losses; it draws all 256 images and imagines from all states. ``ours`` "alike" does as much, "as
configured" what DreamerConfig says. Both take turns, an update at a time, in one process; ``wall``
is by the clock, ``cpu`` by the processor's time of this process. A figure is the median over the
rounds, a ``ratio`` (ours / theirs) the median of the rounds' own ratios with its quartiles.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.model_based.dreamer import DreamerEnv
from torchrl.modules import (
    MLP,
    DreamerActor,
    IndependentNormal,
    ObsDecoder,
    ObsEncoder,
    RSSMPosterior,
    RSSMPrior,
    RSSMRollout,
    TanhNormal,
    WorldModelWrapper,
)
from torchrl.objectives import DreamerActorLoss, DreamerModelLoss, DreamerValueLoss
from world_updates import ACTIONS, EYE, batch

from robolearn.algos.dreamer import Dreamer, DreamerConfig
from robolearn.networks.world import SIZES

SMALL = SIZES["small"]
HORIZON, UPDATES = 15, 2
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
ALIKE = DreamerConfig(decoded=SMALL.batch * SMALL.length, starts=SMALL.batch * SMALL.length)


def ours(config: DreamerConfig) -> Callable[[dict], object]:
    """Make ours; give what takes an update."""
    return Dreamer(EYE, config).update


def normal(module: nn.Module, keys: list, out: object, dims: int) -> nn.Module:
    """Make a unit Gaussian around what a module says."""
    mean = ("next", "loc") if isinstance(out, tuple) else "loc"
    return ProbabilisticTensorDictSequential(
        TensorDictModule(module, in_keys=keys, out_keys=[mean]),
        ProbabilisticTensorDictModule(
            in_keys=[mean], out_keys=[out], distribution_class=IndependentNormal,
            distribution_kwargs={"scale": 1.0, "event_dim": dims},
        ),
    )  # fmt: skip


def head() -> nn.Module:
    """Make what tells a number of a state."""
    return MLP(
        in_features=SMALL.deterministic + SMALL.stochastic, out_features=1, depth=2,
        num_cells=SMALL.units, activation_class=nn.ELU,
    )  # fmt: skip


class Theirs:
    """TorchRL's Dreamer."""

    def __init__(self) -> None:
        action = Bounded(-1, 1, (ACTIONS,))
        prior = RSSMPrior(
            action, hidden_dim=SMALL.units, rnn_hidden_dim=SMALL.deterministic,
            state_dim=SMALL.stochastic, action_dim=ACTIONS,
        )  # fmt: skip
        reward = head()
        world = world_model(prior, reward)
        env = imagined(prior, reward, action)
        actor = ProbabilisticTensorDictSequential(
            TensorDictModule(
                DreamerActor(ACTIONS, depth=2, num_cells=SMALL.units),
                in_keys=["state", "belief"], out_keys=["loc", "scale"],
            ),
            ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"], out_keys=["action"], distribution_class=TanhNormal,
                default_interaction_type="random", return_log_prob=False,
            ),
        )  # fmt: skip
        value = normal(head(), ["state", "belief"], "state_value", 1)
        with torch.no_grad():
            actor(states(1))
        self.losses = [
            DreamerModelLoss(world),
            DreamerActorLoss(actor, value, env, imagination_horizon=HORIZON),
            DreamerValueLoss(value),
        ]
        self.losses[1].make_value_estimator(gamma=0.99, lmbda=0.95)
        self.parts = [world, actor, value]
        self.optimisers = [torch.optim.Adam(part.parameters(), lr=3e-4) for part in self.parts]

    def update(self, rows: dict) -> None:
        """Improve world model, policy and value by a step each."""
        shape = rows["rewards"].shape
        images = rows["observations"]["eye"].movedim(-1, -3).float() / 255
        data = states(*shape).set("action", rows["actions"])
        data["next"] = TensorDict({"pixels": images, "reward": rows["rewards"][..., None]}, shape)
        found, data = self.losses[0](data)
        self.descend(0, sum(found[f"loss_model_{name}"] for name in ("kl", "reco", "reward")))
        found, data = self.losses[1](data.detach().reshape(-1))
        self.descend(1, found["loss_actor"])
        found, _ = self.losses[2](data)
        self.descend(2, found["loss_value"])

    def descend(self, which: int, loss: torch.Tensor) -> None:
        """Take a step."""
        self.optimisers[which].zero_grad()
        loss.sum().backward()
        nn.utils.clip_grad_norm_(self.parts[which].parameters(), 100.0)
        self.optimisers[which].step()


def states(*shape: int) -> TensorDict:
    """Give what is believed at first."""
    sizes = {"state": SMALL.stochastic, "belief": SMALL.deterministic}
    return TensorDict({name: torch.zeros(*shape, size) for name, size in sizes.items()}, shape)


def world_model(prior: nn.Module, reward: nn.Module) -> nn.Module:
    """Put together theirs."""
    posterior = RSSMPosterior(
        hidden_dim=SMALL.units, state_dim=SMALL.stochastic, rnn_hidden_dim=SMALL.deterministic,
        obs_embed_dim=32 * SMALL.depth,
    )  # fmt: skip
    after = [("next", "state"), ("next", "belief")]
    rollout = RSSMRollout(
        TensorDictModule(
            prior, in_keys=["state", "belief", "action"],
            out_keys=[("next", "prior_mean"), ("next", "prior_std"), "_", ("next", "belief")],
        ),
        TensorDictModule(
            posterior, in_keys=[("next", "belief"), ("next", "encoded_latents")],
            out_keys=[("next", "posterior_mean"), ("next", "posterior_std"), ("next", "state")],
        ),
    )  # fmt: skip
    decoder = ObsDecoder(
        channels=SMALL.depth, latent_dim=SMALL.deterministic + SMALL.stochastic, out_channels=3
    )
    return WorldModelWrapper(
        TensorDictSequential(
            TensorDictModule(
                ObsEncoder(channels=SMALL.depth, in_channels=3),
                in_keys=[("next", "pixels")], out_keys=[("next", "encoded_latents")],
            ),
            rollout,
            normal(decoder, after, ("next", "reco_pixels"), 3),
        ),
        normal(reward, after, ("next", "reward"), 1),
    )  # fmt: skip


def imagined(prior: nn.Module, reward: nn.Module, action: Bounded) -> DreamerEnv:
    """Make the environment in which theirs imagines."""
    env = DreamerEnv(
        WorldModelWrapper(
            TensorDictModule(
                prior, in_keys=["state", "belief", "action"], out_keys=["_", "_", "state", "belief"]
            ),
            normal(reward, ["state", "belief"], "reward", 1),
        ),
        prior_shape=(SMALL.stochastic,), belief_shape=(SMALL.deterministic,),
    )  # fmt: skip
    env.action_spec, env.reward_spec = action, Unbounded((1,))
    env.observation_spec = Composite(
        state=Unbounded((SMALL.stochastic,)), belief=Unbounded((SMALL.deterministic,))
    )
    return env


def take(update: Callable[[dict], object], rows: list[dict]) -> dict[str, float]:
    """Give the seconds of an update, by each clock."""
    begun = {name: clock() for name, clock in CLOCKS.items()}
    for one in rows:
        update(one)
    return {name: (clock() - begun[name]) / len(rows) for name, clock in CLOCKS.items()}


def main(rounds: int) -> None:
    """Let all take turns; print a row for each of ours."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    who = {
        "torchrl": Theirs().update, "alike": ours(ALIKE), "as configured": ours(DreamerConfig()),
    }  # fmt: skip
    took = []
    for _ in range(rounds + 1):
        rows = [batch(rng, SMALL) for _ in range(UPDATES)]
        took.append({name: take(update, rows) for name, update in who.items()})
    del took[0]  # what is made at first does not count
    for name in list(who)[1:]:
        row: dict = {"ours": name, "theirs": "torchrl 0.14.1", "rounds": rounds}
        for clock in CLOCKS:
            mine, other = ([one[w][clock] for one in took] for w in (name, "torchrl"))
            ratios = [t / o for o, t in zip(mine, other, strict=True)]
            row[clock] = {
                "ours": round(1 / statistics.median(mine), 2),
                "theirs": round(1 / statistics.median(other), 2),
                "ratio": [round(q, 2) for q in statistics.quantiles(ratios, n=4)],
            }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

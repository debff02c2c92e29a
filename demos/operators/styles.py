"""How an operator likes to move: the traits in which people differ on the same task.

Two operators whose styles differ in gains and noise only are compatible: one policy can learn from
both. Operators who grasp from the other side, approach in another order or carry at another height
are not: in states that both visit, their actions differ (Gandhi et al., CoRL 2022).
"""

from dataclasses import dataclass, replace
from types import MappingProxyType

from robolearn.errors import UserError, nearest

ORDERS = ("across_then_down", "down_then_across", "diagonal")
GRASP_SIDES = ("near", "opposite")
GRASP_SITES = ("middle", "end")
MOST_EARLY_M = 0.025


@dataclass(frozen=True)
class Style:
    """One operator's habits; ``STYLES`` holds named ones. Raises UserError on a wrong value.

    order: how the hand reaches the object: ``across_then_down`` travels high above it,
        ``down_then_across`` first sinks and travels low, ``diagonal`` takes the straight line.
    grasp_side: which way round the hand grasps: ``near`` turns the wrist as little as possible,
        ``opposite`` grasps from the other side (half a turn on a handle, a quarter turn on a cube
        or can) wherever the wrist can reach it.
    grasp_site: where on the object: its ``middle`` (of the handle), or its ``end`` (the handle's
        tip, the upper part of a cube or can).
    high_approach_m: clearance above the object while travelling high.
    low_approach_m: clearance above the object while travelling low.
    transport_height_m: clearance of the carried object above what it must clear (peg, bin wall).
        Without effect where nothing is transported (Lift).
    speed: cruise speed, as the largest norm of the commanded translation; 1 is the action's limit.
    gain: commanded action per action unit of distance; below the cruise speed the hand approaches
        its target exponentially, the faster the larger the gain.
    pause_s: rest before closing the hand, before lifting, and before letting go.
    noise: standard deviation of the disturbance at cruise speed, action units. It shrinks with
        the speed, as human movement noise does.
    noise_time_s: correlation time of the disturbance (an Ornstein-Uhlenbeck process).
    correction_m: clearance to which the hand backs off after a missed grasp, to try again.

    These are off at 0:

    hesitation_s, hesitations_hz: stops at random moments of the way, so long and so many in a
        second of moving; the hand rests and the gripper stays as it is.
    detour_m: on its first way to the object the hand swings out to a point so far sideways of the
        middle of the straight line, on the arm's side of it, at the height at which it travels.
    early_m: the hand closes so much before it is at the grasp point, and lets go so much higher
        above the goal. At most 0.025: farther off the fingers close on nothing.
    fidget: amplitude of a circling motion of the hand while it waits for its fingers, action units.

    On our tabletop all of them mean the same. Nothing is in the way there, so the transport's
    height counts from the goal; and a goal in the air is where the object stays in the hand, so
    that nobody pauses before letting go, or lets go early.
    """

    order: str = "across_then_down"
    grasp_side: str = "near"
    grasp_site: str = "middle"
    high_approach_m: float = 0.14
    low_approach_m: float = 0.035
    transport_height_m: float = 0.06
    speed: float = 0.8
    gain: float = 3.0
    pause_s: float = 0.0
    noise: float = 0.08
    noise_time_s: float = 0.25
    correction_m: float = 0.06
    hesitation_s: float = 0.0
    hesitations_hz: float = 0.0
    detour_m: float = 0.0
    early_m: float = 0.0
    fidget: float = 0.0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                given = getattr(self, name)
                raise UserError(f"style: unknown {name} '{given}'{nearest(given, known)}")
        for name in ("speed", "gain", "noise_time_s"):
            if getattr(self, name) <= 0:
                raise UserError(f"style: {name}={getattr(self, name)} must be above 0")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UserError(f"style: {name}={getattr(self, name)} must be 0 or more")
        if self.early_m > MOST_EARLY_M:
            raise UserError(f"style: early_m={self.early_m} must be {MOST_EARLY_M} or less")
        if (self.hesitation_s > 0) != (self.hesitations_hz > 0):
            raise UserError(
                "style: hesitation_s and hesitations_hz go together: how long, how often"
            )


_NOT_NEGATIVE = (
    "pause_s",
    "noise",
    "hesitation_s",
    "hesitations_hz",
    "detour_m",
    "early_m",
    "fidget",
)
_CHOICES = MappingProxyType({"order": ORDERS, "grasp_side": GRASP_SIDES, "grasp_site": GRASP_SITES})

STYLES = MappingProxyType(
    {
        "base": Style(),
        # compatible: the same habits in another hand
        "base_twin": Style(gain=2.6, speed=0.75, noise=0.1),
        "base_brisk": Style(gain=3.4, speed=0.85, noise=0.07, noise_time_s=0.35),
        "base_calm": Style(gain=3.2, speed=0.78, noise=0.05, noise_time_s=0.3),
        "base_roomy": Style(high_approach_m=0.15, transport_height_m=0.07),
        # one trait differs
        "other_order": Style(order="down_then_across"),
        "diagonal": Style(order="diagonal"),
        "opposite_grasp": Style(grasp_side="opposite"),
        "end_grasp": Style(grasp_site="end"),
        "high_transport": Style(transport_height_m=0.15),
        "low_transport": Style(transport_height_m=0.02),
        "slow_with_pauses": Style(speed=0.4, pause_s=0.6),
        "slow": Style(speed=0.4),
        "pauses": Style(pause_s=0.6),
        "hesitant": Style(hesitation_s=0.5, hesitations_hz=0.7),
        "detour": Style(detour_m=0.12),
        "early_grip": Style(early_m=0.02),
        "fidgety": Style(fidget=0.3),
        "noisy": Style(noise=0.2, noise_time_s=1.0),
        # several do
        "low_and_slow": Style(order="down_then_across", transport_height_m=0.02, speed=0.5),
        "opposite_and_high": Style(grasp_side="opposite", transport_height_m=0.12),
        "diagonal_with_pauses": Style(order="diagonal", pause_s=0.4),
        "opposite_end": Style(grasp_side="opposite", grasp_site="end"),
        "opposite_with_pauses": Style(grasp_side="opposite", pause_s=0.5),
        "brisk_with_pauses": Style(gain=3.6, speed=0.9, pause_s=0.5),
        "very_slow": Style(speed=0.3),
        "slow_and_noisy": Style(speed=0.55, noise=0.15),
        "high_and_hesitant": Style(transport_height_m=0.12, hesitation_s=0.8, hesitations_hz=0.4),
        "wide_detour": Style(detour_m=0.2),
        "diagonal_end": Style(order="diagonal", grasp_site="end"),
        "early_and_fidgety": Style(early_m=0.015, fidget=0.2),
        "base_steady": Style(gain=2.8, speed=0.82, noise=0.04),
        # and others, for another last word on what harms
        "slow_diagonal": Style(order="diagonal", speed=0.4),
        "noisy_and_low": Style(order="down_then_across", noise=0.2, noise_time_s=1.0),
        "trembling": Style(noise=0.15, noise_time_s=0.1),
        "slow_detour": Style(detour_m=0.1, speed=0.5),
        "slow_and_hesitant": Style(speed=0.45, hesitation_s=0.4, hesitations_hz=0.6),
        "short_pauses": Style(pause_s=0.25),
        "opposite_and_slow": Style(grasp_side="opposite", speed=0.45),
        "low_end": Style(order="down_then_across", grasp_site="end", transport_height_m=0.02),
        "brisk_and_high": Style(gain=3.6, speed=0.95, transport_height_m=0.12),
        "roomy_and_fidgety": Style(high_approach_m=0.16, fidget=0.25),
        "gentle": Style(gain=1.6),
        "early_and_slow": Style(early_m=0.015, speed=0.4),
    }
)

TRAITS = MappingProxyType(
    {
        "order": ("order", "high_approach_m", "low_approach_m", "detour_m"),
        "grasp": ("grasp_side", "grasp_site"),
        "transport": ("transport_height_m",),
        "tempo": ("speed", "gain", "pause_s", "hesitation_s", "hesitations_hz"),
        "grip": ("early_m",),
        "steadiness": ("noise", "noise_time_s", "fidget"),
    }
)


def named_style(name: str) -> Style:
    """Look a style up in ``STYLES``; raise UserError that says the nearest name."""
    if name not in STYLES:
        raise UserError(f"unknown operator style '{name}'{nearest(name, STYLES)}")
    return STYLES[name]


def changed(style: Style, trait: str, towards: Style) -> Style:
    """Give ``style`` with one trait of ``TRAITS`` taken over from ``towards``; else UserError."""
    if trait not in TRAITS:
        raise UserError(f"unknown trait '{trait}'{nearest(trait, TRAITS)}")
    return replace(style, **{name: getattr(towards, name) for name in TRAITS[trait]})


def differing_traits(style: Style, other: Style) -> tuple[str, ...]:
    """Name the traits of ``TRAITS`` in which two styles differ, in the order of ``TRAITS``."""
    return tuple(trait for trait in TRAITS if changed(style, trait, other) != style)

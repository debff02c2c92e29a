"""A robot at another machine, which is this one: over a real socket."""

import asyncio
import logging
import threading
import time

import aiohttp
import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robots.base import BusError, LifeCycle, LostError, RobotError
from robots.clocks import RealClock, SimulatedClock
from robots.conformance import check
from robots.drivers.arm_kind import ServoArmConfig
from robots.drivers.so101 import so101
from robots.guard import Guard, GuardConfig, StopError
from robots.remote import messages, tokens
from robots.remote.client import RemoteConfig, RemoteRobot, remote
from robots.remote.server import Server, ServerConfig
from robots.twin import Twin, TwinConfig

TOKEN = "a token that is long enough"
PATIENT_S = 30.0


class Camera:
    """A camera that always sees the same."""

    shape = (4, 6, 3)
    image = np.arange(72, dtype=np.uint8).reshape(shape)

    def open(self):
        """Nothing needs to be had."""

    def close(self):
        """Nothing needs to be let go of."""

    def latest(self):
        return self.image, -0.25


@pytest.fixture
def arm(tmp_path, monkeypatch):
    """The robot: emulated servos in simulated time, where waiting costs nothing."""
    monkeypatch.chdir(tmp_path)
    config = ServoArmConfig(port="emulated")
    return so101(config, cameras={"wrist": Camera()}, clock=SimulatedClock())


@pytest.fixture
def server(arm):
    """Serves the bare arm: what goes over the line, and what the line does."""
    with Server(arm, ServerConfig(port=0, silence_s=PATIENT_S), TOKEN, guarded=False) as server:
        yield server


@pytest.fixture
def make_client(server):
    clients = []

    def make(token=TOKEN, **options):
        config = RemoteConfig(address=server.address, timeout_s=PATIENT_S, **options)
        clients.append(RemoteRobot(config, token=token))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect()


@pytest.fixture
def client(make_client):
    client = make_client()
    client.connect()
    return client


def wait_until(true):
    ends_s = time.monotonic() + PATIENT_S
    while not true():
        assert time.monotonic() < ends_s
        time.sleep(0.005)


def command(robot, value=0.3):
    return robot.send_action({name: value for name in robot.action_features})


def test_it_is_known_before_connecting(make_client, arm):
    client = make_client()
    assert client.joints == arm.joints
    assert client.observation_features == arm.observation_features
    assert client.life_cycle is arm.life_cycle is LifeCycle.UNCONFIGURED


def test_it_keeps_the_contract_as_far_as_nothing_moves(make_client):
    class Now(SimulatedClock):
        __call__ = staticmethod(time.monotonic)

    results = list(check(make_client(), Now(), motion=False))
    assert [(r.check, r.words) for r in results if not r.passed] == []
    assert len(results) == 10


def test_it_is_read_and_driven_from_elsewhere(client, arm):
    client.activate()
    sent = command(client)
    arm.clock.sleep(2.0)
    seen = client.get_observation()
    assert {name: seen[name] for name in sent} == sent
    assert (seen["wrist"] == Camera.image).all()
    client.stop()
    assert client.life_cycle is arm.life_cycle is LifeCycle.INACTIVE


def test_times_are_of_this_machines_clock_and_not_too_new(client):
    before_s = time.monotonic()
    client.get_observation()
    assert before_s <= client.measured_s["joints"] <= time.monotonic()
    assert client.measured_s["wrist"] <= time.monotonic() - 0.25


def test_what_was_measured_before_the_call_is_not_given_for_new(client, arm, monkeypatch):
    client.get_observation()
    old = dict(arm.measured_s)
    monkeypatch.setattr(type(arm), "measured_s", property(lambda self: old))
    arm.clock.sleep(1000.0)  # as much as no call takes
    client.get_observation()
    assert client.measured_s["joints"] < time.monotonic() - 900.0


def test_errors_are_those_of_the_robot(client, arm):
    with pytest.raises(RobotError, match=r"so101: send_action\(\) while it is inactive"):
        command(client)
    client.activate()
    with pytest.raises(SpecError, match="missing"):
        client.send_action({})
    with pytest.raises(DataError, match="nan"):
        command(client, float("nan"))
    arm.config = ServoArmConfig(port="emulated", lost_after=2)
    arm.bus._direct.station[3].dropped = True
    with pytest.raises(BusError, match="elbow_flex"):
        client.get_observation()
    with pytest.raises(LostError, match="elbow_flex"):
        client.get_observation()
    assert client.life_cycle is LifeCycle.ERROR


def test_a_bug_of_the_driver_there_is_loud_here(client, arm, monkeypatch, caplog):
    monkeypatch.setattr(arm, "get_observation", lambda: 1 / 0)
    with caplog.at_level(logging.CRITICAL), pytest.raises(RuntimeError, match="ZeroDivisionError"):
        client.get_observation()


def test_when_nothing_is_heard_the_robot_is_stopped(arm):
    with Server(arm, ServerConfig(port=0, silence_s=0.2), TOKEN, guarded=False) as server:
        config = RemoteConfig(address=server.address, timeout_s=PATIENT_S, heartbeat_s=1000.0)
        client = RemoteRobot(config, token=TOKEN)
        client.connect()
        client.activate()
        wait_until(lambda: arm.life_cycle is LifeCycle.INACTIVE)
        assert server.stopped_for == "nothing was heard for 0.2 s"
        with pytest.raises(RobotError, match="while it is inactive"):
            command(client)
        client.disconnect()


def test_heartbeats_keep_it_going(arm):
    with Server(arm, ServerConfig(port=0, silence_s=2.0), TOKEN, guarded=False) as server:
        config = RemoteConfig(address=server.address, timeout_s=PATIENT_S, heartbeat_s=0.01)
        client = RemoteRobot(config, token=TOKEN)
        client.connect()
        client.activate()
        time.sleep(2.5)
        command(client)
        client.disconnect()


def test_when_its_driver_is_gone_the_robot_is_stopped(client, arm, server):
    client.activate()
    asyncio.run_coroutine_threadsafe(client._close(), client._loop).result()
    wait_until(lambda: arm.life_cycle is LifeCycle.INACTIVE)
    assert server.stopped_for == "whoever drove it is gone"


def test_a_server_that_is_gone_is_a_lost_robot(arm, tmp_path):
    with Server(arm, ServerConfig(port=0), TOKEN) as server:
        client = RemoteRobot(RemoteConfig(address=server.address), token=TOKEN)
        client.connect()
    with pytest.raises(LostError, match="does not answer"):
        client.get_observation()
    assert client.life_cycle is LifeCycle.ERROR
    client.disconnect()
    assert arm.life_cycle is LifeCycle.UNCONFIGURED
    with pytest.raises(LostError, match="does not answer"):
        RemoteRobot(RemoteConfig(address=server.address), token=TOKEN)


def test_a_late_answer_is_no_answer_and_the_robot_is_stopped(arm, server, monkeypatch):
    client = RemoteRobot(RemoteConfig(address=server.address, timeout_s=0.5), token=TOKEN)
    client.connect()
    client.activate()
    go_on, observe = threading.Event(), arm.get_observation
    monkeypatch.setattr(arm, "get_observation", lambda: go_on.wait(PATIENT_S) and observe())
    with pytest.raises(LostError, match="nothing within 0.5 s"):
        client.get_observation()
    with pytest.raises(LostError, match="the line to .* was closed"):
        client.stop()
    go_on.set()
    wait_until(lambda: arm.life_cycle is LifeCycle.INACTIVE)
    assert server.stopped_for == "whoever drove it is gone"
    client.disconnect()
    wait_until(lambda: _connects(client))
    client.disconnect()


@pytest.fixture
def guard():
    """A guarded twin in the machine's time."""
    clock = RealClock()
    robot = Twin(TwinConfig(failing=0.0), clock)
    config = GuardConfig(hold_s=0.3, stop_s=0.6, stale_s=PATIENT_S, ramp_s=0.0)
    return Guard(robot, 0.02, config=config, arm=robot.arm, clock=clock)


@pytest.fixture
def guarded(guard):
    """A client of the guarded twin, which it says all the time that it lives."""
    with Server(guard, ServerConfig(port=0, silence_s=PATIENT_S), TOKEN) as server:
        config = RemoteConfig(address=server.address, timeout_s=PATIENT_S, heartbeat_s=0.01)
        client = RemoteRobot(config, token=TOKEN)
        client.connect()
        yield client
        client.disconnect()


def test_heartbeats_are_no_commands(guard, guarded):
    guarded.activate()
    wait_until(lambda: guard.life_cycle is LifeCycle.INACTIVE)
    assert guard.is_stopped and guard.reason.startswith("no command for")


def test_a_stop_there_is_a_stop_here_and_is_reset_by_who_has_seen_it(guard, guarded):
    guarded.activate()
    guard.emergency_stop("somebody pressed the button")
    wait_until(lambda: guard.life_cycle is LifeCycle.INACTIVE)
    with pytest.raises(StopError, match="pressed the button"):
        guarded.reset_stop()
    assert guard.is_stopped
    with pytest.raises(StopError, match="pressed the button"):
        guarded.activate()
    guarded.reset_stop()
    guarded.activate()
    assert guarded.life_cycle is LifeCycle.ACTIVE


def test_a_guard_here_resets_the_one_there_too(guard, guarded):
    here = Guard(guarded, 0.02, config=GuardConfig(hold_s=30.0, stop_s=60.0, stale_s=60.0))
    for first, later in (("the button", ""), ("the button again", "somebody else")):
        here.activate()
        guard.emergency_stop(first)
        with pytest.raises(StopError, match=first):
            wait_until(lambda: here.is_stopped or not here.get_observation())
            command(here, 0.0)  # its watchdog may have noticed first
        if later:  # since that was told
            guard.emergency_stop(later)
            with pytest.raises(StopError, match=later):
                here.reset_stop()
            assert here.is_stopped and guard.is_stopped
        here.reset_stop()
        assert not here.is_stopped and not guard.is_stopped
    guard.emergency_stop("while it was inactive")
    with pytest.raises(StopError, match="while it was inactive"):
        here.activate()
    here.reset_stop()
    here.activate()
    assert guard.life_cycle is LifeCycle.ACTIVE
    here.disconnect()


def test_a_robot_that_is_served_is_guarded_unless_it_is_said(arm):
    config = ServerConfig(port=0)
    assert isinstance(Server(arm, config, TOKEN).robot, Guard)
    assert Server(arm, config, TOKEN, guarded=False).robot is arm


def test_an_arm_that_is_served_no_longer_is_stopped_before_anybody_is_waited_for(guard):
    stops = []
    with Server(guard, ServerConfig(port=0, silence_s=PATIENT_S), TOKEN) as server:
        config = RemoteConfig(address=server.address, timeout_s=PATIENT_S)
        client = RemoteRobot(config, token=TOKEN)
        client.connect()
        client.activate()
        turn_away = server._turn_away

        async def noted():
            stops.append(guard.reason)
            await turn_away()

        server._turn_away = noted
    assert stops == ["it is served no longer"]
    assert guard.life_cycle is LifeCycle.UNCONFIGURED
    client.disconnect()


def test_what_a_simulation_knows_of_its_world_is_refused_at_either_end(server, monkeypatch):
    class Knowing(Twin):
        @property
        def observation_features(self):
            return super().observation_features | {"state": np.ndarray}

    words = "remote: 'state' is neither a joint nor a camera.*a twin: world=desk"
    with pytest.raises(RobotError, match=words):
        Server(Knowing(), ServerConfig(port=0), TOKEN)
    monkeypatch.setitem(server._features, "state", "ndarray")
    with pytest.raises(RobotError, match=words):
        RemoteRobot(RemoteConfig(address=server.address), token=TOKEN)


def test_a_message_longer_than_any_call_closes_the_line(client, server):
    with pytest.raises(LostError):
        client._call("stop", "x" * 2**17)


def test_an_answer_longer_than_what_was_declared_closes_the_line(client, arm, monkeypatch):
    monkeypatch.setattr(Camera, "image", np.zeros((400, 600, 3), np.uint8))
    with pytest.raises(LostError):
        client.get_observation()


def test_without_a_guard_there_is_nothing_to_reset(client):
    with pytest.raises(RobotError, match="so101 is served without a guard"):
        client.reset_stop()


def test_without_the_token_nobody_learns_anything(make_client):
    with pytest.raises(RobotError, match="wants another token"):
        make_client(token="another token than that one")


def test_only_one_drives(client, make_client, arm):
    second = make_client()
    with pytest.raises(RobotError, match="somebody else drives"):
        second.connect()
    client.get_observation()
    client.disconnect()
    wait_until(lambda: arm.life_cycle is LifeCycle.UNCONFIGURED)
    wait_until(lambda: _connects(second))


def _connects(robot):
    try:
        robot.connect()
    except RobotError:
        return False
    return True


def test_it_is_calibrated_where_it_stands(client):
    with pytest.raises(RobotError, match="at its own machine"):
        client.calibrate()


def test_cameras_belong_to_the_robots_machine(server):
    with pytest.raises(RobotError, match=r"cameras \(front\) belong to the robot's machine"):
        remote(RemoteConfig(address=server.address), cameras={"front": Camera()})


def say(server, *texts):
    """Send raw bytes as a driver, and give what comes back."""

    async def talk():
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(server.address) as socket,
        ):
            answers = []
            for text in texts:
                await socket.send_bytes(text)
                answers.append(messages.unpack((await socket.receive()).data))
            return answers

    return asyncio.run(talk())


def test_what_is_no_message_or_no_call_is_refused(server):
    answers = say(
        server,
        b"\xc1",
        b"\x80\x04N.",  # a pickle
        messages.pack({"call": "__init__", "arguments": []}),
        messages.pack({"call": "calibrate"}),
        messages.pack({"call": "stop", "arguments": 3}),
    )
    assert [answer["error"] for answer in answers] == ["DataError"] * 2 + ["RobotError"] * 3


@pytest.mark.parametrize(
    "value", [1, 0.5, "x", None, [1, 2], {"a": {"b": 1.5}}, np.float64(0.5), np.int32(3)]
)
def test_plain_values_arrive_as_they_were(value):
    assert messages.unpack(messages.pack({"value": value}))["value"] == value


def test_arrays_arrive_as_they_were():
    for array in (Camera.image[::2], np.eye(3), np.array([], np.float32), np.array(True)):
        found = messages.unpack(messages.pack({"value": array}))["value"]
        assert found.dtype == array.dtype and (found == array).all() and found.shape == array.shape


@pytest.mark.parametrize(
    "array",
    [
        {"array": "|O", "shape": [1], "data": b"12345678"},
        {"array": "<f8", "shape": [2], "data": b"12345678"},
        {"array": "<f8", "shape": [-1, -1], "data": b"12345678"},
        {"array": "<f8", "shape": ["x"], "data": b"12345678"},
        {"array": "<f8"},
    ],
)
def test_an_array_that_is_none_is_refused(array):
    with pytest.raises(DataError, match="not a message"):
        messages.unpack(messages.pack({"value": array}))


def test_a_token_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "robot.token"
    token = tokens.make_or_read(path)
    assert tokens.make_or_read(path) == tokens.read(path) == token
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("short")
    with pytest.raises(RobotError, match="16 or more"):
        tokens.read(path)
    with pytest.raises(RobotError, match="copy it from the machine with the robot"):
        tokens.read(tmp_path / "nothing")


def test_a_port_that_is_taken_is_said(arm, server):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(RobotError, match="cannot listen at 127.0.0.1"):
        Server(arm, ServerConfig(port=port), TOKEN).__enter__()

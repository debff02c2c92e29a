"""Plain arrays of datasets and of robomimic's files: what is read, and what is refused."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from demos.data import arrays
from demos.data.arrays import fitted, read
from robolearn.errors import DataError, SpecError
from robolearn.types import ArraySpec

KEYS = {"object": 3, "robot0_eef_pos": 2, "robot0_eef_quat": 4, "robot0_joint_vel": 5}


def observations(steps, rng):
    return {key: rng.uniform(0.1, 1.0, (steps, width)) for key, width in KEYS.items()}


def write(path, numbers=(0, 1, 2, 10), masks=None, change=None):
    """Write a robomimic file of 4 to 7 steps a demonstration; ``change`` spoils or adds."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        arguments = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(arguments)
        for i, number in enumerate(numbers):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = rng.uniform(-1, 1, (4 + i, 2))
            for key, array in observations(4 + i, rng).items():
                demo[f"obs/{key}"] = array
            demo["obs/agentview_image"] = np.zeros((4 + i, 8, 8, 3), np.uint8)
        for name, members in (masks or {}).items():
            file[f"mask/{name}"] = np.array(members, "S")
        if change is not None:
            change(file)
    return path


def test_robomimic_files_give_the_usual_observations_in_the_order_of_numbers(tmp_path):
    path = write(tmp_path / "low_dim.hdf5", numbers=(10, 2, 0))
    found = read(path)
    assert found.names == ("demo_0", "demo_2", "demo_10")
    assert [len(a) for a in found.actions] == [6, 5, 4]
    state = found.interface.observations["state"]
    assert state.names == (
        "object_0", "object_1", "object_2", "robot0_eef_pos_0", "robot0_eef_pos_1",
        *(f"robot0_eef_quat_{i}" for i in range(4)),
    )  # fmt: skip
    assert found.interface.period_s == 0.05 and found.interface.environment == "Lift"
    assert found.operators == ("", "", "")
    with h5py.File(path) as file:
        demo = file["data/demo_2"]
        np.testing.assert_array_equal(found.actions[1], demo["actions"])
        np.testing.assert_array_equal(found.states[1][:, 3:5], demo["obs/robot0_eef_pos"])


def test_a_file_with_names_of_its_own_gives_all_vectors(tmp_path):
    def own_names(file):
        for demo in file["data"].values():
            for old in ("robot0_eef_pos", "robot0_eef_quat", "robot0_joint_vel"):
                demo.move(f"obs/{old}", f"obs/{old.replace('robot0_eef', 'arm').split('_', 1)[1]}")

    found = read(write(tmp_path / "x.hdf5", change=own_names))
    assert len(found.interface.observations["state"].names) == sum(KEYS.values())


def test_observations_can_be_named(tmp_path):
    found = read(write(tmp_path / "x.hdf5"), obs=["robot0_joint_vel", "object"])
    names = found.interface.observations["state"].names
    assert names[0] == "robot0_joint_vel_0" and names[-1] == "object_2" and len(names) == 8


def test_without_the_usual_keys_all_vectors_count(tmp_path):
    def rename(file):
        for demo in file["data"].values():
            for key in ("object", "robot0_eef_pos", "robot0_eef_quat"):
                del demo[f"obs/{key}"]
            demo["obs/height"] = np.zeros(len(demo["actions"]))

    found = read(write(tmp_path / "x.hdf5", change=rename))
    names = found.interface.observations["state"].names
    assert names == ("height_0", *(f"robot0_joint_vel_{i}" for i in range(5)))


def test_operators_are_the_smallest_masks_that_say_who(tmp_path):
    masks = {
        "train": ["demo_0", "demo_1"],
        "valid": ["demo_2"],
        "20_percent": ["demo_0"],
        "better": ["demo_0", "demo_1"],
        "better_operator_1": ["demo_1"],
        "better_operator_1_train": ["demo_1"],
        "worse": ["demo_2"],
        "worse_better": ["demo_0", "demo_1", "demo_2"],
    }
    found = read(write(tmp_path / "mh.hdf5", masks=masks))
    assert found.operators == ("better", "better_operator_1", "worse", "")
    assert found.by("better").names == ("demo_0",)
    assert found.by("worse_better").names == ("demo_0", "demo_1", "demo_2")
    with pytest.raises(DataError, match="no operator 'wors'; did you mean 'worse'"):
        found.by("wors")


def test_a_mask_of_others_is_refused(tmp_path):
    found = read(write(tmp_path / "d.hdf5", masks={"gone": ["demo_77"]}))
    with pytest.raises(DataError, match="none of these demonstrations is in the mask 'gone'"):
        found.by("gone")


def test_success_is_looked_at_where_it_is_known(tmp_path):
    masks = {"success": ["demo_1", "demo_10"], "failure": ["demo_0", "demo_2"]}
    path = write(tmp_path / "x.hdf5", masks=masks)
    assert read(path, success=True).names == ("demo_1", "demo_10")
    assert read(path, success=False).names == ("demo_0", "demo_2")
    plain = write(tmp_path / "y.hdf5")
    assert len(read(plain, success=True)) == 4
    none = write(tmp_path / "z.hdf5", masks={"success": ["demo_77"]})
    with pytest.raises(DataError, match="z.hdf5 holds no successful demonstrations"):
        read(none, success=True)


def test_quaternions_keep_to_one_side(tmp_path):
    def flip(file):
        quaternion = file["data/demo_2/obs/robot0_eef_quat"]
        quaternion[2:4] = -quaternion[2:4]
        whole = file["data/demo_10/obs/robot0_eef_quat"]
        whole[...] = -whole[...]

    plain, flipped = read(write(tmp_path / "x.hdf5")), read(write(tmp_path / "y.hdf5", change=flip))
    for ours, theirs in zip(plain.states, flipped.states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_whole_file_on_the_other_side_is_turned_to_the_bases(tmp_path):
    def flip(file):
        for demo in file["data"].values():
            demo["obs/robot0_eef_quat"][...] = -demo["obs/robot0_eef_quat"][...]

    base, other = read(write(tmp_path / "x.hdf5")), read(write(tmp_path / "y.hdf5", change=flip))
    assert (other.states[0][:, -4:] < 0).all()
    _, turned = fitted(base, other)
    np.testing.assert_array_equal(turned.states[3], base.states[3])


def drop(name):
    def change(file):
        del file[name]

    return change


def put(name, array):
    def change(file):
        del file[name]
        file[name] = array

    return change


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (drop("data"), {}, "has no group 'data': it is no robomimic file"),
        (drop("data/demo_1/obs"), {}, "demo_1 has no obs/object"),
        (drop("data/demo_0/obs"), {}, r"demo_0 has no observations \(obs\)"),
        (drop("data/demo_2/actions"), {}, "demo_2 has no actions"),
        (drop("data/demo_2/obs/object"), {}, "demo_2 has no obs/object"),
        (
            put("data/demo_2/obs/object", np.zeros((6, 7))), {},
            r"demo_2: obs/object has shape \(6, 7\) instead of \(6, 3\)",
        ),
        (
            put("data/demo_2/actions", np.zeros((5, 2))), {},
            r"demo_2: obs/object has shape \(6, 3\) instead of \(5, 3\)",
        ),
        (
            put("data/demo_1/actions", np.zeros((5, 3))), {},
            r"demo_1: actions has shape \(5, 3\) instead of \(5, 2\)",
        ),
        (
            put("data/demo_1/obs/object", np.full((5, 3), np.nan)), {},
            "demo_1: obs/object is not finite at step 0",
        ),
        (None, {"obs": ["objekt"]}, "demo_0 has no obs/objekt; did you mean 'object'"),
        (None, {"obs": ["agentview_image"]}, "obs/agentview_image has shape .*: no vector"),
    ],
)  # fmt: skip
def test_files_that_will_not_do_are_refused(tmp_path, change, options, words):
    path = write(tmp_path / "x.hdf5", change=change)
    with pytest.raises(DataError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


def test_images_alone_are_refused(tmp_path):
    def strip(file):
        for demo in file["data"].values():
            for key in KEYS:
                del demo[f"obs/{key}"]

    with pytest.raises(DataError, match="demo_0 has images only"):
        read(write(tmp_path / "x.hdf5", change=strip))


def test_what_is_no_file_of_this_kind_is_refused(tmp_path):
    path = write(tmp_path / "low_dim.hdf5")
    with pytest.raises(DataError, match="no such file or folder; did you mean 'low_dim.hdf5'"):
        read(tmp_path / "low_dims.hdf5")
    (tmp_path / "text.hdf5").write_text("nothing")
    with pytest.raises(DataError, match="text.hdf5 is not HDF5"):
        read(tmp_path / "text.hdf5")
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="cut.hdf5 is damaged: .*truncated"):
        read(cut)
    other = write(tmp_path / "x.hdf5", (7,), None, lambda f: f.move("data/demo_7", "data/run_7"))
    with pytest.raises(DataError, match="called demo_0, demo_1, ..., but run_7"):
        read(other)
    empty = write(tmp_path / "empty.hdf5", numbers=())
    with pytest.raises(DataError, match="empty.hdf5 holds no demonstrations"):
        read(empty)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder is not a dataset"):
        read(tmp_path / "folder")


# -- datasets of ours ----------------------------------------------------------------------------


def test_datasets_of_ours_give_states_before_actions(mixed):
    found = read(mixed.path)
    assert found.names == ("demo_0", "demo_1", "demo_2", "demo_3")
    assert found.operators == ("ann", "bob", "ann", "bob/2")
    assert found.interface == mixed.interface
    for name, states, actions in zip(found.names, found.states, found.actions, strict=True):
        episode = mixed.load(name)
        np.testing.assert_array_equal(states, episode.observations["state"][:-1])
        np.testing.assert_array_equal(actions, episode.actions)
    assert read(mixed.path, success=True).names == ("demo_0", "demo_3")
    assert found.by("ann").names == ("demo_0", "demo_2")
    assert found.by("failure").names == ("demo_1", "demo_2")
    assert found.only({"demo_3"}).operators == ("bob/2",)


def test_entries_of_ours_can_be_named(mixed):
    found = read(mixed.path, obs=["goal"])
    assert found.interface.observations["state"].names == ("goal",)
    assert found.states[2].shape == (5, 1)
    with pytest.raises(SpecError, match="no entry 'gaol'; did you mean 'goal'"):
        read(mixed.path, obs=["gaol"])


def test_a_dataset_without_states_is_refused(mixed, monkeypatch):
    image = dataclasses.replace(mixed.interface, observations={})
    monkeypatch.setattr(mixed, "interface", image)
    monkeypatch.setattr(arrays.Dataset, "open", lambda path: mixed)
    with pytest.raises(DataError, match="has no observation 'state'"):
        read(mixed.path)


def test_a_dataset_is_the_same_by_its_index(mixed):
    ours, index = read(mixed.path), read(mixed.path / "index.hdf5")
    assert index.names == ours.names
    assert index.operators == ("operator_ann", "operator_bob", "operator_ann", "operator_bob_2")
    for one, other in zip(ours.states, index.states, strict=True):
        np.testing.assert_array_equal(one, other)


# -- two of them ---------------------------------------------------------------------------------


def test_entries_are_put_in_the_bases_order(mixed):
    base, new = read(mixed.path), read(mixed.path, obs=["goal", "position"])
    _, fits = fitted(base, new)
    assert fits.interface.observations == base.interface.observations
    np.testing.assert_array_equal(fits.states[1], base.states[1])


def test_entries_that_one_of_them_lacks_are_named(mixed):
    base, new = read(mixed.path), read(mixed.path, obs=["goal"])
    with pytest.raises(SpecError, match="its state lacks position; common=true takes the entries"):
        fitted(base, new)
    with pytest.raises(SpecError, match="its state has besides position"):
        fitted(new, base)
    with pytest.warns(UserWarning, match="compared by goal; left out are position"):
        less, same = fitted(base, new, common=True)
    assert less.interface.observations["state"].names == ("goal",)
    np.testing.assert_array_equal(less.states[0], same.states[0])


def test_common_entries_are_no_cure_for_other_actions(mixed):
    base, short = read(mixed.path), read(mixed.path)
    action = ArraySpec((7,), "float64")
    short = dataclasses.replace(
        short, interface=dataclasses.replace(short.interface, action=action)
    )
    with pytest.raises(SpecError, match="actions of 7 entries instead of [0-9]+$"):
        fitted(base, short)


def test_nothing_in_common_is_refused(mixed, tmp_path):
    base, new = read(mixed.path), read(write(tmp_path / "x.hdf5"))
    with pytest.raises(SpecError, match="actions of 2 entries instead of 1; its state lacks"):
        fitted(base, new, common=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"period_s": 0.1}, "10 Hz instead of 20 Hz"),
        ({"action": (("a",), (1.0,))}, "actions a instead of b"),
        ({"action": (("b",), (2.0,))}, "actions of another scale"),
    ],
)
def test_other_actions_and_rates_are_refused(mixed, change, words):
    def acting(found, names, scale):
        action = dataclasses.replace(found.interface.action, names=names, scale=scale)
        interface = dataclasses.replace(found.interface, action=action)
        return dataclasses.replace(found, interface=interface)

    base = acting(read(mixed.path), ("b",), (1.0,))
    new = acting(base, *change.get("action", (("b",), (1.0,))))
    rate = change.get("period_s", base.interface.period_s)
    new = dataclasses.replace(new, interface=dataclasses.replace(new.interface, period_s=rate))
    with pytest.raises(SpecError, match=f"{words}$"):  # common=true would not help
        fitted(base, new)


def test_states_without_names_must_be_of_one_size(mixed):
    def nameless(found, size):
        state = dataclasses.replace(
            found.interface.observations["state"], shape=(size,), names=(), units=()
        )
        interface = dataclasses.replace(found.interface, observations={"state": state})
        return dataclasses.replace(found, interface=interface)

    base = nameless(read(mixed.path), 2)
    assert fitted(base, base) == (base, base)
    with pytest.raises(SpecError, match="states of 3 entries instead of 2"):
        fitted(base, nameless(base, 3))

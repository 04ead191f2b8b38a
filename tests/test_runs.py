"""Checkpoints and run folders: whole or absent, exact on the way back, clear when damaged."""

import errno
import os

import pytest
import safetensors.torch
import torch

from labkit.errors import CheckpointError, DataError, OutOfSpace
from labkit.store.atomic import atomic_file, atomic_write
from labkit.store.checkpoints import (
    checkpoint_hash,
    flatten,
    load_checkpoint,
    load_header,
    save_checkpoint,
    unflatten,
)
from labkit.store.runs import RunFolder


def tensors():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, generator=generator)
    return {
        "weight": weight,
        "tied": weight,
        "turned": weight.T,
        "half": weight.to(torch.bfloat16),
        "step": torch.tensor(12.0),
        "rng": generator.get_state(),
    }


def test_checkpoint_comes_back_bit_for_bit(tmp_path):
    header = {"model": {"channels": 64, "name": "αβ"}, "step": 12, "lr": 2e-4, "best": None}
    path = save_checkpoint(tmp_path / "deep" / "last.safetensors", tensors(), header)
    loaded, found = load_checkpoint(path)
    assert found == header == load_header(path)
    assert set(loaded) == set(tensors())
    for name, expected in tensors().items():
        assert loaded[name].dtype == expected.dtype and torch.equal(loaded[name], expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_layout_does_not_change_values(tmp_path, channels_last):
    kernel = torch.randn(2, 3, 4, 5)
    given = kernel.to(memory_format=torch.channels_last) if channels_last else kernel
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path / "a.safetensors", {"kernel": given}, {}))
    assert torch.equal(loaded["kernel"], kernel)


@pytest.mark.parametrize("size", [0, 4, 8, 40, -1])
def test_truncated_checkpoint_is_refused(tmp_path, size):
    path = save_checkpoint(tmp_path / "a.safetensors", tensors(), {"step": 1})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"checkpoint a\.safetensors: found a damaged file"):
        load_checkpoint(path)


def test_foreign_and_absent_checkpoints_are_refused(tmp_path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="without a labkit header"):
        load_checkpoint(tmp_path / "foreign.safetensors")
    torch.save({"w": torch.zeros(2)}, tmp_path / "pickle.safetensors")
    with pytest.raises(CheckpointError, match="another format"):
        load_checkpoint(tmp_path / "pickle.safetensors")
    for call in (load_checkpoint, load_header, checkpoint_hash):
        with pytest.raises(CheckpointError):
            call(tmp_path / "absent.safetensors")


def test_hash_says_whether_two_checkpoints_are_one(tmp_path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    for path, step in zip(paths, (1, 1, 2), strict=True):
        save_checkpoint(path, tensors(), {"step": step})
    first, same, other = (checkpoint_hash(path) for path in paths)
    assert first == same != other and len(first) == 64


def test_optimiser_state_survives_flattening(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.8, 0.99))
    for _ in range(3):
        model(torch.ones(1, 3)).sum().backward()
        optimiser.step()
    state, structure = flatten({"optimiser": optimiser.state_dict(), "odd": [None, True, "text", (1, 2.5), {}]})
    loaded, header = load_checkpoint(save_checkpoint(tmp_path / "a.safetensors", state, {"state": structure}))
    back = unflatten(header["state"], loaded)
    assert back["odd"] == [None, True, "text", (1, 2.5), {}]
    assert back["optimiser"]["param_groups"] == optimiser.state_dict()["param_groups"]
    assert list(back["optimiser"]["state"]) == [0, 1]  # numbers, not text
    torch.optim.Adam(model.parameters()).load_state_dict(back["optimiser"])
    for key, entry in optimiser.state_dict()["state"].items():
        assert all(torch.equal(back["optimiser"]["state"][key][name], entry[name]) for name in entry)


def test_flatten_refuses_what_it_cannot_bring_back():
    with pytest.raises(TypeError, match="found set"):
        flatten({"a": {1, 2}})
    with pytest.raises(TypeError, match=r"named a\.1"):
        flatten({"a": {1: torch.zeros(1), "1": torch.ones(1)}})


def test_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "config.yaml"
    atomic_write(path, b"old")
    with pytest.raises(OutOfSpace, match="free some space"), atomic_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and [item.name for item in tmp_path.iterdir()] == ["config.yaml"]


def test_full_disk_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "last.safetensors", tensors(), {"step": 1})

    def full(*args, **options):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("labkit.store.checkpoints.save_file", full)
    with pytest.raises(OutOfSpace):
        save_checkpoint(path, tensors(), {"step": 2})
    assert load_header(path) == {"step": 1} and [item.name for item in tmp_path.iterdir()] == [path.name]


def test_writing_where_nothing_can_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another output path"):
        RunFolder(tmp_path / "file" / "run").save_config({})


def test_config_and_statistics_come_back_in_order(tmp_path):
    run = RunFolder(tmp_path / "run")
    config = {"model": {"channels": [32, 64], "dropout": 0.1}, "data": {"times": "2021", "mask": None}}
    run.save_config(config)
    run.save_statistics({"t2m": {"mean": 280.5}})
    assert run.load_config() == config and list(run.load_config()) == ["model", "data"]
    assert run.load_statistics() == {"t2m": {"mean": 280.5}} and run.statistics_path.is_file()


@pytest.mark.parametrize("content", ["a: [1", "- 1\n- 2\n", "a: !!python/object/apply:os.system ['true']"])
def test_damaged_or_hostile_config_is_refused(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=r"config\.yaml of run"):
        RunFolder(tmp_path).load_config()


def test_absent_run_is_refused(tmp_path):
    run = RunFolder(tmp_path / "absent")
    with pytest.raises(DataError, match="no such file"):
        run.load_config()
    assert run.metrics() == [] and run.checkpoints == []


def test_metrics_survive_a_torn_line(tmp_path):
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.log(step=step, loss=1 / step)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert [metrics["step"] for metrics in run.metrics()] == [1, 2]
    run.log(step=3, loss=0.3)
    assert [metrics["step"] for metrics in run.metrics()] == [1, 2, 3]
    run.truncate_metrics(2)
    run.log(step=3, loss=0.5)
    assert run.metrics() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.5}]


def test_checkpoints_are_listed_oldest_first(tmp_path):
    run = RunFolder(tmp_path)
    for age, name in ((30, "best"), (20, "last")):
        path = save_checkpoint(run.checkpoint_path(name), tensors(), {})
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "checkpoints" / ".last.safetensors.1.tmp").write_bytes(b"")
    assert [path.stem for path in run.checkpoints] == ["best", "last"]

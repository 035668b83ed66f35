"""How many trials share a device, and what each may take of it."""

from __future__ import annotations

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.sweeps.cluster import Resources, custom_resources, idle_devices
from cl_forget.sweeps.devices import CONTEXT, allowed, check_sharing, packed

ONE = Resources(gpus_per_trial=1, share_gpus=True)


@pytest.mark.parametrize(
    ("peak", "devices", "count"),
    [
        (10_000, [80_000], 6),  # 12,600 each
        (10_000, [80_000, 24_000], 1),  # the smallest decides, as Ray takes devices for equal
        (39_000, [80_000], 1),
        (300, [24_000], 25),  # 960 each, most of it context
    ],
)
def test_as_many_share_a_device_as_fit_with_their_contexts(
    peak: float, devices: list[float], count: int
) -> None:
    found = packed(ONE, peak, devices)
    smallest = min(devices)
    assert int(1 / found.gpus_per_trial + 1e-9) == count
    assert count * (1.2 * peak + CONTEXT) <= smallest < (count + 1) * (1.2 * peak + CONTEXT)
    # Held to their parts, all of them together fit, and what was measured fits into each part.
    for device in devices:
        part = allowed(found.gpus_per_trial, device) * device
        assert count * (part + CONTEXT) <= device * (1 + 1e-9)
        assert part >= 1.2 * peak - 1e-4 * device


def test_devices_that_no_trial_takes_are_told() -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}]
    said = idle_devices(Resources(), nodes)
    assert said and said.startswith("8 GPUs are there and trials take none") and "--gpus-per-trial" in said
    assert (idle_devices(Resources(), [{"GPU": 1.0}]) or "").startswith("1 GPU is there")
    assert idle_devices(Resources(gpus_per_trial=0.25), nodes) is None
    assert idle_devices(Resources(), nodes[:1]) is None


def test_a_trial_too_large_for_a_device_is_refused() -> None:
    with pytest.raises(UserError, match=r"wants about 24,600 MiB of a device and the smallest has 16,000"):
        packed(ONE, 20_000, [80_000, 16_000])


def test_only_whole_devices_are_shared_by_measure() -> None:
    check_sharing(ONE, "single")
    for gpus in (0, 0.5):
        with pytest.raises(UserError, match="--gpus-per-trial 1"):
            check_sharing(Resources(gpus_per_trial=gpus, share_gpus=True), "single")
    with pytest.raises(UserError, match="leave --share-gpus out"):
        check_sharing(ONE, "fsdp")


def test_resources_of_ones_own() -> None:
    assert custom_resources(["fpga=1", "accelerator_type:A100=0.001"]) == {
        "fpga": 1.0,
        "accelerator_type:A100": 0.001,
    }
    assert Resources(custom={"fpga": 2.0}).per_trial == {"CPU": 1, "fpga": 2.0}
    for text in ("fpga", "=1", "fpga=0", "fpga=nan", "fpga=inf"):
        with pytest.raises(UserError, match="NAME=AMOUNT"):
            custom_resources([text])
    with pytest.raises(UserError, match="that is --gpus-per-trial"):
        custom_resources(["GPU=1"])

"""What a run needs of the machine, reckoned before it begins."""

from pathlib import Path

from tiny import colours, squares, tiny_clip

from cl_forget.run.needs import COPIES, MOMENTS, Needs, needs


def test_weights_moments_and_data_are_counted(tmp_path: Path) -> None:
    model, tasks = tiny_clip(), squares()
    for task in tasks:
        model.add_task(task)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(p.nbytes for n, p in model.named_parameters() if n.startswith(("clip.visual.", "heads.")))
    images = sum(len(data) for e in (*tasks, colours()) for data in e.splits().values()) * 3 * 16 * 16
    found = needs(model, tasks, [colours()], tmp_path / "not" / "there" / "yet")
    assert found.memory * 2**20 == COPIES * weights + (1 + MOMENTS) * trained + images
    assert found.disk * 2**20 == 4 * weights + MOMENTS * trained
    assert found.free > 0


def test_too_little_disk_is_said() -> None:
    assert "too little" not in Needs(100, 200, 300).line()
    line = Needs(20 * 1024, 400, 300).line()
    assert "at least 20.0 GiB of memory for weights and data" in line
    assert "up to 400 MiB of disk per run (300 MiB are free: too little, choose another --output)" in line

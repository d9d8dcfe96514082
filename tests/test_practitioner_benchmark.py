import csv

import numpy as np
import pytest

from benchmarks import practitioner


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    return folder, practitioner.write_task(folder, seed=0, rows=900, new_rows=300)


def test_the_task_is_one_of_unequal_classes_that_overlap(task):
    folder, truth = task
    X = np.load(folder / "X_train.npy")
    assert (X.dtype, X.shape) == (np.float16, (900, 768))
    with (folder / "labels.csv").open(newline="") as file:
        labels = [row["species"] for row in csv.DictReader(file)]
    counts = np.unique(labels, return_counts=True)[1]
    assert len(counts) == len(set(truth)) == 30
    assert counts.max() > 5 * counts.min()


def test_the_commands_do_the_task(task):
    folder, truth = task
    done = practitioner.run(practitioner.contestants()[0], folder, "0-0.csv")
    assert done.seconds > 0
    right, count = practitioner.accuracy_of(folder / "0-0.csv", truth)
    assert count == 300
    assert right / count > 0.3  # chance is a tenth
    page = practitioner.page(900, {"fastlin": [done]}, folder, truth)
    assert f"| fastlin | {done.seconds:.1f} | 1.0x | {right / count:.2%} (" in page
    assert "\n   3  " in page
    assert "\n   4  " not in page
    assert (folder / "0-0.csv").read_text().splitlines()[3] in page


def test_a_contestant_that_fails_is_told(task):
    broken = practitioner.Contestant("broken", [["-c", "raise ValueError('so it is')"]])
    with pytest.raises(practitioner.click.ClickException) as caught:
        practitioner.run(broken, task[0], "x.csv")
    assert "broken: exit code 1: ValueError: so it is" in str(caught.value)

import sys

import kills
import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")
@pytest.mark.parametrize("command", ["train", "grid"])
def test_a_killed_command_leaves_no_damaged_file(tmp_path, command):
    assert kills.run(tmp_path, command, count=3, seed=0) >= 0


def test_what_is_looked_for_is_found(tmp_path):
    (tmp_path / ".a-01234567.fastlin-tmp").touch()
    with pytest.raises(kills.Violation, match="the next command left"):
        kills.check_swept(tmp_path, "the next command")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(kills.Violation, match="not written in that order"):
        kills.read_run(tmp_path)

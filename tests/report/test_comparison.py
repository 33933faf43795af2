"""Settings that differ, and images with the largest differences."""

from tpuseg.report.comparison import Setting, compare_configurations, find_largest_differences


def test_settings_that_differ():
    first = {"task": {"model": {"size": [1, 2], "depth": 50}, "name": "a"}, "only_first": 0, "empty": {}}
    second = {"task": {"model": {"size": [1, 3], "depth": 50}, "name": "a"}, "empty": {"new": True}}
    assert compare_configurations([first, second]) == [
        Setting("empty", [{}, None]),
        Setting("empty.new", [None, True]),
        Setting("only_first", [0, None]),
        Setting("task.model.size", [[1, 2], [1, 3]]),
    ]
    assert compare_configurations([first, first]) == []


def test_settings_of_three_runs():
    assert compare_configurations([{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 5, "b": 2}]) == [Setting("a", [1, 1, 5])]


def test_the_largest_differences():
    first = {"a": 0.5, "b": 0.25, "c": 1.0, "d": 0.5, "other": 1.0}
    second = {"a": 0.5, "b": 1.0, "c": 0.5, "d": 1.0}
    assert find_largest_differences([first, second], 2) == [("b", 0.75), ("c", 0.5)]
    assert find_largest_differences([first, second], 9) == [("b", 0.75), ("c", 0.5), ("d", 0.5)]
    assert find_largest_differences([first, second, {"a": 0.0, "b": 1.0}], 9) == [("b", 0.75), ("a", 0.5)]
    assert find_largest_differences([], 9) == []

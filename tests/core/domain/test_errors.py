import inspect

import pytest

from core.domain import errors

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass)]


def test_every_error_is_a_core_error_and_in_the_tree_at_the_top():
    assert len(ALL) > 1
    for error in ALL:
        assert issubclass(error, errors.CoreError)
        assert error.__name__ in errors.__doc__


@pytest.mark.parametrize("name", ["ImageError", "MaskError", "DataSetError", "FeatureError", "UsageError"])
def test_wrong_input_is_a_value_error(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_a_missing_provider_is_a_model_error():
    assert issubclass(errors.ProviderError, errors.ModelError)
